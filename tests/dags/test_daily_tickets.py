"""The pipeline by day: its whole way for one day, then for another, and what a run without a day says."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from airflow.sdk import DAG, CronDataIntervalTimetable
from airflow.sdk.exceptions import AirflowFailException
from upath import UPath

from greennode_emulator.server import RunningEmulator

PROJECT = Path(__file__).parents[2]
DAY = datetime(2026, 8, 1, tzinfo=ZoneInfo("Asia/Ho_Chi_Minh"))
RunSteps = Callable[..., dict[str, list[Any]]]
ReadDag = Callable[[str], DAG]


def _of(interval: tuple[datetime | None, datetime | None]) -> dict[str, datetime | None]:
    return dict(zip(("data_interval_start", "data_interval_end"), interval, strict=True))


def test_each_day_takes_its_own_tickets_to_the_table_the_page_and_the_message(
    run_steps: RunSteps, read_dag: ReadDag, warehouse: psycopg.Connection, tickets: int, emulator: RunningEmulator
) -> None:
    counts, pages = [], []
    for day in range(2):
        start = DAY + timedelta(days=day)
        dag, interval = read_dag("daily_tickets"), (start, start + timedelta(days=1))
        done = run_steps(dag, run_id=f"scheduled__{day}", values=_of(interval))
        (count,) = warehouse.execute(
            "SELECT count(*) FROM support_tickets WHERE created_at >= %s AND created_at < %s", interval
        ).fetchone()
        (message,) = done["notify"]
        assert message.startswith(f"{count} rows ({count} succeeded)")
        assert message.endswith(done["page"][0])
        pages.append(UPath(done["page"][0]).read_text())
        assert f"{count} tickets" in pages[-1]
        counts.append(count)
    assert min(counts) > 0
    assert sum(counts) < tickets
    labels = warehouse.execute("SELECT ticket_id, status FROM daily_labels ORDER BY 1").fetchall()
    inbox = warehouse.execute("SELECT ticket_id, 'succeeded' FROM ticket_inbox ORDER BY 1").fetchall()
    assert labels == inbox
    assert len(labels) == sum(counts)
    # A day that runs again sends nothing: its rows have their answers.
    before = emulator.ledger()["requests_billed"]
    run_steps(read_dag("daily_tickets"), run_id="backfill__0", values=_of((DAY, DAY + timedelta(days=1))))
    assert emulator.ledger()["requests_billed"] == before


def test_a_run_without_a_day_says_how_to_give_it_one(run_steps: RunSteps, read_dag: ReadDag) -> None:
    with pytest.raises(AirflowFailException, match="no data interval: trigger it with a logical date"):
        run_steps(read_dag("daily_tickets"), only={"ingest"}, values=_of((None, None)))


def test_a_run_is_a_day_of_the_offices_time_and_has_a_deadline(read_dag: ReadDag) -> None:
    dag = read_dag("daily_tickets")
    assert dag.timetable == CronDataIntervalTimetable("@daily", timezone="Asia/Ho_Chi_Minh")
    assert dag.deadline
    assert dag.get_task("classify.build_requests").job.live.finish_by < timedelta(hours=7)


def test_the_tutorial_shows_the_query_of_the_job() -> None:
    shown = re.search(r"```sql\n(.*?)```", (PROJECT / "docs/tutorials/pipeline.md").read_text(), re.DOTALL)
    assert shown is not None
    said, query = (PROJECT / "include/jobs/daily_tickets/source.sql").read_text().split("\n", 1)
    assert said.startswith("--")
    assert shown[1].split() == query.split()
