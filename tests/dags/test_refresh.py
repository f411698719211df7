"""A job that runs again on a table that it has answered before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from greennode_emulator.server import RunningEmulator

RunSteps = Callable[..., dict[str, list[Any]]]

JOB = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

JOB = BatchJob(
    name="own",
    source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM texts"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{{{ body }}}}",
    target=SqlTarget(conn_id="warehouse", table="answers"),
    {more}
)

dag = batch_table(JOB)
"""


@pytest.mark.parametrize("orphaned", ["report", "remove"])
def test_a_second_run_asks_what_is_new_or_changed_and_pays_for_nothing_else(
    run_own: RunSteps, warehouse: psycopg.Connection, emulator: RunningEmulator, orphaned: str
) -> None:
    warehouse.execute("CREATE TABLE texts AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 6) i")
    warehouse.commit()
    job = JOB.format(more=f"orphaned_rows={orphaned!r},")
    run_own(job, run_id="first")
    first = dict(warehouse.execute("SELECT id, run_id FROM answers").fetchall())
    assert len(first) == 6
    warehouse.execute("UPDATE texts SET body = 'another text' WHERE id = 2")
    warehouse.execute("DELETE FROM texts WHERE id = 3")
    warehouse.execute("INSERT INTO texts VALUES (7, 'row 7')")
    # An answer that was lost since is asked for again.
    warehouse.execute("DELETE FROM answers WHERE id = 4")
    warehouse.execute("UPDATE answers SET status = 'failed' WHERE id = 5")
    warehouse.commit()
    billed = sum(emulator.ledger()["requests"].values())
    run_own(job, run_id="second")
    assert sum(emulator.ledger()["requests"].values()) - billed == 4
    second = dict(warehouse.execute("SELECT id, run_id FROM answers").fetchall())
    assert {number for number, run_id in second.items() if run_id != first.get(number)} == {2, 4, 5, 7}
    assert (3 in second) is (orphaned == "report")
    warehouse.commit()
    billed = sum(emulator.ledger()["requests"].values())
    results = run_own(job, run_id="third")
    # Nothing to ask: no batch, no shard, and yet a report.
    assert (results["build_requests"], len(results["report"])) == ([[]], 1)
    assert sum(emulator.ledger()["requests"].values()) == billed


def test_a_row_that_is_refused_turns_no_later_day_red_and_is_asked_again_on_demand_alone(
    run_own: RunSteps, warehouse: psycopg.Connection, emulator: RunningEmulator
) -> None:
    warehouse.execute("CREATE TABLE texts AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 39) i")
    warehouse.execute("INSERT INTO texts VALUES (40, '')")
    emulator.faults([{"kind": "content_filter", "count": 1, "batches": 1}])
    job = JOB.format(more="")
    (made,) = run_own(job, run_id="day 1")["report"]
    assert made["statuses"] == {"succeeded": 38, "refused": 1, "unsent": 1}
    billed = emulator.ledger()["requests_billed"]
    for day in (2, 3):
        results = run_own(job, run_id=f"day {day}")
        (made,) = results["report"]
        assert (results["build_requests"], made["remembered"]) == ([[]], {"refused": 1, "unsent": 1})
    assert emulator.ledger()["requests_billed"] == billed
    (made,) = run_own(job, run_id="day 4", conf={"retry_final": True})["report"]
    assert (made["statuses"], made["unchanged"]) == ({"unsent": 1, "succeeded": 1}, 38)
