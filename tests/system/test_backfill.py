"""Airflow's own backfills of a DAG with partitions: forwards, backwards, and several runs at a time."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from greennode_local.airflow_client import DAG_RUN_ENDS
from greennode_local.processes import wait_until
from greennode_local.run_progress import failed_logs
from greennode_local.stack import LocalStack

pytestmark = [pytest.mark.system, pytest.mark.nightly, pytest.mark.timeout(2400)]

DAGS = '''
"""Backfills."""
from airflow.sdk import DAG, CronPartitionTimetable
from greennode_airflow.operators.whole_job import GreenNodeBatchOperator
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget


def job(name):
    return BatchJob(
        name=name,
        source=SqlSource(
            conn_id="warehouse",
            sql="SELECT id, body || ' for NAME' AS body, '{{ partition_key[:10] }}' AS day FROM notes "
            "WHERE %(day)s::date BETWEEN first_day AND last_day".replace("NAME", name),
            parameters={"day": "{{ partition_date }}"},
        ),
        key="id",
        carry=("day", "body"),
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=SqlTarget(conn_id="warehouse", table=name),
        orphaned_rows="ignore",
        canary=0,
        attempts=1,
    )


daily = {"schedule": CronPartitionTimetable("0 0 * * *", timezone="UTC"), "catchup": False}
whole = {}
for name in ("forwards", "backwards"):
    with DAG(name, **daily) as whole[name]:
        GreenNodeBatchOperator(task_id="label", job=job(name))
globals().update(whole)
pipeline = batch_table(job("pipeline"), **daily)
'''
DAYS = 30
FIRST = datetime.date(2026, 3, 1)
# Two notes of each day alone, and one that each of ten days has.
NOTES = """
CREATE TABLE notes AS
SELECT i AS id, 'note ' || i AS body, DATE '2026-03-01' + (i - 1) / 2 AS first_day,
       DATE '2026-03-01' + (i - 1) / 2 AS last_day FROM generate_series(1, 60) i
UNION ALL
SELECT 100 + i, 'long note ' || i, DATE '2026-03-01' + 10 * i, DATE '2026-03-10' + 10 * i FROM generate_series(0, 2) i
"""


@pytest.fixture(scope="module")
def backfill_stack() -> Iterator[LocalStack]:
    """An Airflow with these DAGs, and the notes in its warehouse."""
    with tempfile.TemporaryDirectory(prefix="greennode-test-backfill-", ignore_cleanup_errors=True) as home:
        (dags := Path(home, "own_dags")).mkdir()
        (dags / "backfills.py").write_text(DAGS)
        with LocalStack(Path(home, "stack"), dags_folder=dags) as stack:
            with stack.warehouse() as connection:
                connection.execute(NOTES)
            stack.wait_until_ready({"forwards", "backwards", "pipeline"})
            yield stack


def backfill(stack: LocalStack, dag_id: str, days: int, *, backwards: bool) -> None:
    """Run a backfill of so many days, four runs at a time, to its end."""
    client = stack.airflow.client
    client.unpause(dag_id)
    last = FIRST + datetime.timedelta(days - 1)
    client.backfill(dag_id, str(FIRST), str(last), backwards=backwards, max_active_runs=4)

    def is_over() -> bool:
        runs = [run for run in client.runs(dag_id) if run["run_type"] == "backfill"]
        return len(runs) == days and all(run["state"] in DAG_RUN_ENDS for run in runs)

    wait_until(is_over, what=f"the backfill of {dag_id}", seconds=2000, services=stack.services, poll_seconds=1)
    for run in client.runs(dag_id):
        if run["run_type"] == "backfill":
            assert run["state"] == "success", failed_logs(client, dag_id, run["dag_run_id"])


def written(connection: psycopg.Connection, table: str) -> list[tuple[object, ...]]:
    return connection.execute(
        f"SELECT id, day, replace(body, ' for {table}', ''), status FROM {table} ORDER BY id"
    ).fetchall()


def test_a_month_ends_in_the_same_table_in_both_directions_and_asks_each_row_once(backfill_stack: LocalStack) -> None:
    for dag_id in ("forwards", "backwards"):
        backfill(backfill_stack, dag_id, DAYS, backwards=dag_id == "backwards")
    with backfill_stack.warehouse() as connection:
        rows = written(connection, "forwards")
        assert rows == written(connection, "backwards")
    assert len(rows) == 2 * DAYS + 3
    assert {status for *_, status in rows} == {"succeeded"}
    # Of a row that several days have, the last one's columns stand.
    assert [day for number, day, *_ in rows if number > 100 - 1] == ["2026-03-10", "2026-03-20", "2026-03-30"]
    assert set(backfill_stack.emulator.ledger(summary=False)["requests"].values()) == {1}


def test_the_tasks_of_a_pipeline_are_backfilled_as_well(backfill_stack: LocalStack) -> None:
    backfill(backfill_stack, "pipeline", 4, backwards=True)
    with backfill_stack.warehouse() as connection:
        assert len(written(connection, "pipeline")) == 4 * 2 + 1
    with backfill_stack.postgres.connect("airflow") as connection:
        events = connection.execute(
            "SELECT partition_key, extra->>'partition_key', count(*) FROM asset_event "
            "WHERE source_dag_id = 'pipeline' AND partition_key < %s GROUP BY 1, 2 ORDER BY 1",
            [f"{FIRST + datetime.timedelta(DAYS)}"],  # the schedule's own run of today may be over too
        ).fetchall()
    # The address, and the asset of the version before.
    assert events == [(key, key, 2) for key in (f"2026-03-0{day}T00:00:00" for day in range(1, 5))]
    assert set(backfill_stack.emulator.ledger(summary=False)["requests"].values()) == {1}
