"""Runs of one job that overlap: what both would ask is asked by the first, and the second waits for its answers."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.dataset as pads
import pytest
from airflow.sdk.exceptions import TaskDeferred

from greennode_emulator.server import RunningEmulator

RunSteps = Callable[..., dict[str, list[Any]]]

JOB = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

dag = batch_table(
    BatchJob(
        name="own",
        source=SqlSource(
            conn_id="warehouse",
            sql="SELECT i AS id, 'row ' || i AS body FROM generate_series({{ params.first }}, {{ params.last }}) i",
        ),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=SqlTarget(conn_id="warehouse", table="answers"),
        orphaned_rows="ignore",
        canary=0,
        attempts=1,
    ),
    params={"first": 1, "last": 5},
)
"""
BUILD = {"build_requests"}
AFTER = {
    *("attempt_1.submit_batch", "attempt_1.wait_for_batch", "attempt_1.collect_results"),
    *("join_results", "report", "clean_up"),
}


def span(first: int, last: int) -> dict[str, int]:
    return {"first": first, "last": last}


def test_the_second_of_two_runs_waits_for_what_the_first_one_asks(
    run_own: RunSteps, warehouse: psycopg.Connection, emulator: RunningEmulator
) -> None:
    first = run_own(JOB, run_id="first", conf=span(1, 5), only=BUILD)
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            run_own(JOB, run_id="second", conf=span(4, 8), only=BUILD, running=["first"])
    # A third one has nothing in common with them, and the first one does not wait for those behind it.
    run_own(JOB, run_id="third", conf=span(20, 22), running=["first", "second"])
    run_own(JOB, run_id="first", conf=span(1, 5), results=first, only=AFTER, running=["second"])
    report = run_own(JOB, run_id="second", conf=span(4, 8), running=["first"])["report"][0]
    assert (report["rows"], report["unchanged"]) == (3, 2)
    assert set(emulator.ledger()["requests"].values()) == {1}
    counts = "SELECT count(*), count(*) FILTER (WHERE status = 'succeeded') FROM answers"
    assert warehouse.execute(counts).fetchone() == (11, 11)


def test_a_run_that_failed_is_not_waited_for_and_goes_behind_those_that_went_on(
    run_own: RunSteps, emulator: RunningEmulator
) -> None:
    run_own(JOB, run_id="first", conf=span(1, 5), only=BUILD)
    second = run_own(JOB, run_id="second", conf=span(4, 8), only=BUILD)
    with pytest.raises(TaskDeferred):
        run_own(JOB, run_id="first", conf=span(1, 5), only=BUILD, running=["second"])
    run_own(JOB, run_id="second", conf=span(4, 8), results=second, only=AFTER, running=["first"])
    run_own(JOB, run_id="first", conf=span(1, 5), running=["second"])
    assert set(emulator.ledger()["requests"].values()) == {1}


BACKFILL = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

dag = batch_table(
    BatchJob(
        name="own",
        source=SqlSource(
            conn_id="warehouse",
            sql="SELECT 1 AS id, 'same' AS body, '{{ partition_key }}' AS day "
            "UNION ALL SELECT 2, 'of {{ partition_key }}', '{{ partition_key }}'",
        ),
        key="id",
        carry=("day",),
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=(SqlTarget(conn_id="warehouse", table="answers"), FileTarget(path="FOLDER")),
        canary=0,
        attempts=1,
    ),
)
"""
DAYS = ("2026-03-01", "2026-03-02")


@pytest.mark.parametrize("days", [DAYS, DAYS[::-1]])
def test_days_of_a_backfill_end_in_the_same_table_and_dataset_in_both_orders(
    days: tuple[str, str], run_own: RunSteps, warehouse: psycopg.Connection, emulator: RunningEmulator, tmp_path: Path
) -> None:
    text = BACKFILL.replace("FOLDER", str(tmp_path / "answers"))
    for day in days:
        values = {"partition_key": day, "partition_date": datetime.datetime.fromisoformat(f"{day}T00:00:00+00:00")}
        last = run_own(text, run_id=f"backfill__{day}", values=values, run_type="backfill", may_skip=True)["report"][0]
    assert (last["left_to_later"], last["copied"]) == ((0, 1) if days == DAYS else (1, 0))
    rows = warehouse.execute("SELECT id, day, status FROM answers ORDER BY id").fetchall()
    assert rows == [(1, DAYS[1], "succeeded"), (2, DAYS[1], "succeeded")]
    table = pads.dataset(tmp_path / "answers").to_table(["id", "day", "status"]).sort_by("id")
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    # What the later day has written is not asked for the earlier one.
    assert sorted(emulator.ledger()["requests"].values()) == [1] * (3 if days == DAYS else 2)
