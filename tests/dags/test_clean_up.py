"""What becomes of a run's files at GreenNode, and that this changes nothing of the run's result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_emulator.server import RunningEmulator

RunFile = Callable[[str], dict[str, str]]
RunSteps = Callable[..., dict[str, list[Any]]]

A_JOB = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from greennode_airflow.pipeline import batch_table, batch_table_group
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="{name}",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM fresh"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{{{ body }}}}",
    target=SqlTarget(conn_id="warehouse", table="answers"),
    attempts=1,
    max_failed_ratio={max_failed_ratio},
)
"""
A_DAG = A_JOB + "dag = batch_table(JOB)\n"
A_GROUP = (
    A_JOB
    + """
with DAG("own", schedule=None) as dag:
    batch_table_group(JOB) >> EmptyOperator(task_id="after")
"""
)


@pytest.fixture
def client(emulator: RunningEmulator) -> Iterator[GreenNodeClient]:
    with GreenNodeClient(emulator.base_url, emulator.api_key) as made:
        yield made


@pytest.fixture(autouse=True)
def _source(warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE fresh AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 5) i")


def test_a_run_leaves_no_file_at_the_server_and_its_batch_is_there(run_own: RunSteps, client: GreenNodeClient) -> None:
    run_own(A_DAG.format(name="own", max_failed_ratio=0.0))
    assert [file.filename for file in client.list_files()] == []
    assert len(list(client.list_batches())) == 1


def test_a_run_says_whose_it_is_so_that_maintenance_can_ask_for_its_state(run_own: RunSteps, deployment: Path) -> None:
    run_own(A_DAG.format(name="own", max_failed_ratio=0.0), only={"build_requests"})
    (note,) = deployment.glob("own/*/run.json")
    assert json.loads(note.read_text())["dag_id"] == "own"


def test_copies_of_an_upload_whose_reply_was_lost_go_as_well(
    run_own: RunSteps, client: GreenNodeClient, emulator: RunningEmulator
) -> None:
    emulator.faults([{"kind": "reset_after", "endpoint": "POST /files"}])
    run_own(A_DAG.format(name="own", max_failed_ratio=0.0))
    assert emulator.ledger()["files_uploaded"] == 2
    assert list(client.list_files()) == []
    assert emulator.ledger()["batches_created"] == 1


def test_a_run_with_too_many_failed_rows_stays_failed_and_is_cleaned_up(
    run_file: RunFile, client: GreenNodeClient, emulator: RunningEmulator
) -> None:
    emulator.faults([{"kind": "line_error", "count": 1}])
    states = run_file(A_DAG.format(name="own", max_failed_ratio=0.0))
    assert (states[""], states["report"], states["clean_up"]) == ("failed", "failed", "failed")
    assert list(client.list_files()) == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_task_after_the_group_follows_the_report_and_not_the_clean_up(
    run_file: RunFile,
    client: GreenNodeClient,
    emulator: RunningEmulator,
    fails: bool,  # noqa: FBT001
) -> None:
    emulator.faults([{"endpoint": "DELETE /files/{id}", "kind": "status", "status": 403, "count": None}])
    if fails:
        emulator.faults([{"kind": "line_error", "count": 1}])
    states = run_file(A_GROUP.format(name="ask", max_failed_ratio=0.0))
    after, ended = ("upstream_failed", "failed") if fails else ("success", "success")
    assert (states["after"], states[""], states["ask.clean_up"]) == (after, ended, ended)
    assert list(client.list_files()), "a server that deletes nothing fails no run"
