"""A run of more shards than Airflow maps a task over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from greennode_emulator.server import RunningEmulator

DAG = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

dag = batch_table(
    BatchJob(
        name="own",
        source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM questions"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=SqlTarget(conn_id="warehouse", table="answers"),
        canary=0,
        max_shard_requests=1,
    ),
    default_args={"retries": 0},
)
"""


@pytest.fixture
def few_instances(monkeypatch: pytest.MonkeyPatch, warehouse: psycopg.Connection) -> None:
    """Airflow maps a task over two values at most, and the source makes five shards."""
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    warehouse.execute("CREATE TABLE questions AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 5) i")


def test_a_run_of_more_shards_than_airflow_maps_ends_well_and_pays_each_row_once(
    few_instances: None,
    run_file: Callable[..., dict[str, str]],
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
) -> None:
    # Lost by the server, and so asked again: the second attempt has groups as well.
    emulator.faults([{"kind": "missing", "count": 1, "batches": 3}])
    states = run_file(DAG)
    assert states[""] == "success", states
    assert states["attempt_2.collect_results"] == "success"
    assert warehouse.execute("SELECT count(*) FROM answers WHERE status = 'succeeded'").fetchone() == (5,)
    ledger = emulator.ledger(summary=True)
    assert (ledger["batches_created"], ledger["requests_billed"]) == (8, 8)


@pytest.mark.parametrize("instances", ["2", "1024"])
def test_with_a_server_that_nobody_has_read_before_the_pilot_goes_first_and_nobody_waits_for_ever(
    instances: str,
    few_instances: None,
    run_file: Callable[..., dict[str, str]],
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One process runs one task after the other here, whichever waits for which.
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", instances)
    monkeypatch.setenv("AIRFLOW__GREENNODE__PILOT_REQUESTS", "100")
    monkeypatch.setattr("greennode_airflow.operators.batch._PILOT_SECONDS", 0.5)
    states = run_file(DAG)
    assert states[""] == "success", states
    assert warehouse.execute("SELECT count(*) FROM answers WHERE status = 'succeeded'").fetchone() == (5,)
    assert emulator.ledger(summary=True)["batches_created"] == 5


def test_what_a_run_of_the_version_before_maps_over_goes_on_as_it_was(
    few_instances: None, run_own: Callable[..., dict[str, list[Any]]], warehouse: psycopg.Connection, deployment: Path
) -> None:
    """Its build has left one folder a shard in Airflow's database, though it is more than the limit is now."""
    built = run_own(DAG, only={"build_requests"})
    ((grouped,),) = (built["build_requests"],)
    assert [len(group) for group in grouped] == [3, 2]
    stored = {"build_requests": [[path for group in grouped for path in group]]}
    tasks = {f"attempt_1.{name}" for name in ("submit_batch", "wait_for_batch", "collect_results")}
    done = run_own(DAG, only={*tasks, "join_results"}, results=stored)
    assert [len(done[name]) for name in sorted(tasks)] == [5, 5, 5]
    assert warehouse.execute("SELECT count(*) FROM answers").fetchone() == (5,)


@pytest.mark.nightly
def test_a_shard_that_is_refused_fails_the_run_and_keeps_the_others_of_its_group_from_nothing(
    few_instances: None,
    run_file: Callable[..., dict[str, str]],
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
) -> None:
    emulator.faults([{"kind": "status", "endpoint": "POST /batches", "status": 400, "count": 1}])
    states = run_file(DAG.replace("canary=0", "canary=0, attempts=1"))
    assert states[""] == "failed"
    assert warehouse.execute("SELECT count(*) FROM answers WHERE status = 'succeeded'").fetchone() == (4,)
