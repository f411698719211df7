"""A job's target as an asset: what a run that adds up tells, and where a DAG scheduled on it finds that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from airflow.models.asset import AssetActive, AssetDagRunQueue, AssetEvent, AssetModel
from airflow.utils.session import create_session
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import func, select

from greennode_emulator.server import RunningEmulator

RunFile = Callable[..., dict[str, str]]

DAGS = """
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator
from greennode_airflow.observability.assets import asset_of
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import FileTarget, SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="own",
    source=SqlSource(conn_id="warehouse", sql="SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 5) i"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ body }}",
    prices={"google/gemma-4-31b-it": [1_000_000, 2_000_000]},
    target=(SqlTarget(conn_id="warehouse", table="answers"), FileTarget(path="FOLDER")),
    attempts=1,
    refresh="all",
)

dag = batch_table(JOB)

with DAG("after", schedule=[asset_of(target) for target in JOB.targets], is_paused_upon_creation=False) as after:
    EmptyOperator(task_id="next", inlets=[asset_of(JOB.targets[0])])
for name, asset in {"theirs": Asset("their_answers", "TABLE"), "by_uri": Asset.ref(uri="file://FOLDER")}.items():
    with DAG(name, schedule=[asset], is_paused_upon_creation=False) as globals()[name]:
        EmptyOperator(task_id="next")
with DAG("of_last_release", schedule=[Asset("warehouse.answers", "greennode://warehouse/answers")],
         is_paused_upon_creation=False) as of_last_release:
    EmptyOperator(task_id="next")
"""


def events(since: int) -> dict[str, dict[str, object]]:
    """The extras of the events after the one of this id, by the asset's uri."""
    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.id > since).order_by(AssetEvent.id))
        return {event.asset.uri: event.extra for event in found}


@pytest.fixture
def latest_event(_metadata: None) -> int:
    """The id of the latest event that the DAGs of other tests have left; 0 if there is none."""
    with create_session() as session:
        return session.scalar(select(func.max(AssetEvent.id))) or 0


def activate_assets() -> None:
    """What a scheduler does for the assets that DAGs name, and dag.test() of Airflow 3.2 leaves to it."""
    with create_session() as session:
        active = set(session.scalars(select(AssetActive.uri)))
        for asset in session.scalars(select(AssetModel).where(~AssetModel.active.has())):
            if asset.uri not in active:  # of two names for one address, one is active
                session.add(AssetActive.for_asset(asset))


def test_a_run_that_adds_up_makes_its_targets_new_and_says_what_it_did(
    run_file: RunFile,
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
    database: str,
    tmp_path: Path,
    deployment: Path,
    latest_event: int,
) -> None:
    where, folder = conninfo_to_dict(database), str(tmp_path / "answers")
    # As somebody else writes it, who knows the table and not the connection of the job.
    table = f"postgresql://{where['host']}:{where['port']}/{where['dbname']}/public/answers/"
    text = DAGS.replace("FOLDER", folder).replace("TABLE", table)
    ended = run_file(text, run_conf={"dry_run": True})
    assert (ended["report"], events(latest_event)) == ("skipped", {})
    activate_assets()
    emulator.faults([{"kind": "cut_off", "count": 1}])
    assert run_file(text)["report"] == "failed"
    assert events(latest_event) == {}
    emulator.reset()
    assert run_file(text)[""] == "success"
    told = events(latest_event)
    address = f"postgres://{where['host']}:{where['port']}/{where['dbname']}/public/answers"
    assert set(told) == {"greennode://warehouse/answers", folder, address, f"file://{folder}"}
    assert where["password"] not in address
    with create_session() as session:
        woken = session.scalars(select(AssetDagRunQueue.target_dag_id))
        assert set(woken) == {"after", "theirs", "by_uri", "of_last_release"}
    for extra in told.values():
        assert (extra["rows"], extra["statuses"]) == (5, {"succeeded": 5})
        assert extra["cost"] == extra["saving"] > 0
        assert min(extra["prompt_tokens"], extra["completion_tokens"]) > 0
        assert (extra["cached_tokens"], extra["reasoning_tokens"]) == (0, 0)
        assert extra["currency"] == "VND"
        assert Path(extra["report"].removeprefix("file://")).exists()
