"""How a run ends: as a success only where its rows are in the target, or where there are none to ask."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session
from sqlalchemy import func, select

from greennode_emulator.server import RunningEmulator

RunFile = Callable[..., dict[str, str]]

# Of a run that is run again, as if all of its tasks were cleared.
MOMENT = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
DATES = {"run_after": MOMENT, "logical_date": MOMENT}

JOB = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task
from greennode_airflow.pipeline import batch_table, batch_table_group
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="own",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM fresh"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ body }}",
    target=SqlTarget(conn_id="warehouse", table="answers"),
    attempts=1,
)
"""
A_DAG = JOB + "dag = batch_table(JOB)\n"
A_GROUP = (
    JOB
    + """
with DAG("own", schedule=None) as dag:
    @task.KIND
    def choose():
        return CHOICE

    group = batch_table_group(JOB)
    choose() >> [group, EmptyOperator(task_id="another")]
    group >> EmptyOperator(task_id="after")
"""
)


@pytest.fixture(autouse=True)
def _source(warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE fresh AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 5) i")


@pytest.fixture
def asset_events(_metadata: None) -> Callable[[], int]:
    """How many times a target was said to be new, since the test began: by its address, and by its name before."""

    def count() -> int:
        with create_session() as session:
            return session.scalar(select(func.count()).select_from(AssetEvent)) or 0

    before = count()
    return lambda: (count() - before) // 2


def test_a_cleared_run_that_cannot_be_built_is_failed_and_does_not_call_its_target_new(
    run_file: RunFile, warehouse: psycopg.Connection, asset_events: Callable[[], int], emulator: RunningEmulator
) -> None:
    assert run_file(A_DAG, **DATES)[""] == "success"
    assert asset_events() == 1
    warehouse.execute("ALTER TABLE fresh RENAME TO away")
    ended = run_file(A_DAG, **DATES)
    assert [ended[name] for name in ("build_requests", "report", "clean_up", "")] == ["failed"] * 4
    assert asset_events() == 1
    warehouse.execute("ALTER TABLE away RENAME TO fresh")
    assert run_file(A_DAG, **DATES)[""] == "success"
    assert asset_events() == 2
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_a_dry_run_ends_as_its_build(run_file: RunFile, warehouse: psycopg.Connection) -> None:
    dry = {"run_conf": {"dry_run": True}}
    assert run_file(A_DAG, **dry)[""] == "success"
    warehouse.execute("DROP TABLE fresh")
    assert run_file(A_DAG, **dry)[""] == "failed"


def test_a_run_with_nothing_to_ask_is_a_success(
    run_file: RunFile, warehouse: psycopg.Connection, emulator: RunningEmulator
) -> None:
    assert run_file(A_DAG)[""] == "success"
    assert run_file(A_DAG)[""] == "success"
    warehouse.execute("DELETE FROM fresh")
    assert run_file(A_DAG)[""] == "success"
    assert emulator.ledger(summary=True)["batches_created"] == 1


@pytest.mark.parametrize(
    ("kind", "choice", "another"), [("branch", '"another"', "success"), ("short_circuit", "False", "skipped")]
)
def test_a_group_that_its_dag_leaves_out_fails_nothing(
    run_file: RunFile, emulator: RunningEmulator, kind: str, choice: str, another: str
) -> None:
    ended = run_file(A_GROUP.replace("KIND", kind).replace("CHOICE", choice))
    assert (ended["another"], ended[""]) == (another, "success")
    assert {ended[name] for name in ("own.build_requests", "own.report", "own.clean_up", "after")} == {"skipped"}
    assert emulator.ledger(summary=True)["files_uploaded"] == 0


def test_a_finished_run_whose_staging_is_gone_is_built_around_its_rows_which_stay_good(
    run_file: RunFile,
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
    deployment: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run_file(A_DAG, **DATES)[""] == "success"
    shutil.rmtree(deployment)
    assert run_file(A_DAG, **DATES)[""] == "success"
    assert "5 rows were written by an earlier build of this run, whose staging is gone" in (caplog.text)
    assert warehouse.execute("SELECT count(*) FROM answers WHERE status = 'succeeded'").fetchone() == (5,)
    assert set(emulator.ledger()["requests"].values()) == {1}
