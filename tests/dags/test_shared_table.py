"""Two jobs of one DAG on one table, in runs of equal ids, and runs that come after a later one."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from greennode_emulator.server import RunningEmulator

RunFile = Callable[..., dict[str, str]]
RunSteps = Callable[..., dict[str, list[Any]]]

TWO_GROUPS = """
from airflow.sdk import DAG
from greennode_airflow.pipeline import batch_table_group
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

def job(source):
    return BatchJob(
        name="label",
        source=SqlSource(conn_id="warehouse", sql=f"SELECT id, body FROM {source}"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=SqlTarget(conn_id="warehouse", table="answers"),
        orphaned_rows="remove",
        canary=0,
        attempts=1,
    )

with DAG("own", schedule=None) as dag:
    batch_table_group(job("mails"), group_id="mails") >> batch_table_group(job("chats"), group_id="chats")
"""
ONE_JOB = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import SqlTarget
from greennode_batch.job.sources import SqlSource

dag = batch_table(
    BatchJob(
        name="own",
        source=SqlSource(conn_id="warehouse", sql="SELECT i AS id, i || ' {{ ds }}' AS body FROM two"),
        key="id",
        carry=("body",),
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=SqlTarget(conn_id="warehouse", table="answers"),
        canary=0,
        attempts=1,
    )
)
"""
OWNERS = "SELECT id, greennode_job FROM answers ORDER BY id"


@pytest.fixture
def sources(warehouse: psycopg.Connection) -> psycopg.Connection:
    warehouse.execute("CREATE TABLE mails AS SELECT i AS id, 'mail ' || i AS body FROM generate_series(1, 3) i")
    warehouse.execute("CREATE TABLE chats AS SELECT i AS id, 'chat ' || i AS body FROM generate_series(11, 12) i")
    return warehouse


def test_jobs_of_one_name_in_two_groups_count_and_remove_their_own_rows(
    run_own: RunSteps, sources: psycopg.Connection, emulator: RunningEmulator
) -> None:
    first = run_own(TWO_GROUPS, run_id="first")
    assert [first[f"{group}.report"][0]["rows"] for group in ("mails", "chats")] == [3, 2]
    owners = [*((number, "mails/label") for number in (1, 2, 3)), *((number, "chats/label") for number in (11, 12))]
    assert sources.execute(OWNERS).fetchall() == owners
    sources.execute("DELETE FROM mails WHERE id = 3")
    second = run_own(TWO_GROUPS, run_id="second")
    reports = [second[f"{group}.report"][0] for group in ("mails", "chats")]
    assert [(one["unchanged"], one["left"]["count"]) for one in reports] == [(2, 1), (2, 0)]
    owners.remove((3, "mails/label"))
    assert sources.execute(OWNERS).fetchall() == owners
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_rows_that_are_nobody_s_become_the_job_s_that_finds_them_and_none_is_removed(
    run_own: RunSteps, sources: psycopg.Connection, emulator: RunningEmulator
) -> None:
    run_own(TWO_GROUPS, run_id="first")
    sources.execute("UPDATE answers SET greennode_job = NULL, greennode_order = NULL")
    run_own(TWO_GROUPS, run_id="dry", conf={"dry_run": True}, only={"mails.build_requests"})
    assert {owner for _, owner in sources.execute(OWNERS).fetchall()} == {None}
    sources.execute("DELETE FROM mails WHERE id = 3")
    run_own(TWO_GROUPS, run_id="second")
    owners = {1: "mails/label", 2: "mails/label", 3: None, 11: "chats/label", 12: "chats/label"}
    assert dict(sources.execute(OWNERS).fetchall()) == owners
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_in_a_table_that_does_not_say_whose_its_rows_are_all_goes_on_as_before(
    run_own: RunSteps, sources: psycopg.Connection, emulator: RunningEmulator
) -> None:
    text = TWO_GROUPS.replace('"remove"', '"report"')
    run_own(text, run_id="first")
    for name in ("job", "order", "final"):
        sources.execute(f"ALTER TABLE answers DROP COLUMN greennode_{name}")
    sources.execute("INSERT INTO mails VALUES (4, 'mail 4')")
    reports = [run_own(text, run_id="second")[f"{group}.report"][0] for group in ("mails", "chats")]
    assert [(one["unchanged"], one["left"]["count"]) for one in reports] == [(3, 2), (2, 4)]
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_a_run_of_an_older_day_leaves_the_rows_of_a_later_one(
    run_file: RunFile, warehouse: psycopg.Connection, deployment: Path
) -> None:
    warehouse.execute("CREATE TABLE two AS SELECT i FROM generate_series(1, 2) i")
    days = {day: datetime.datetime(2026, 1, day, tzinfo=datetime.UTC) for day in (2, 1)}
    for moment in days.values():
        assert run_file(ONE_JOB, logical_date=moment, run_after=moment)[""] == "success"
    rows = warehouse.execute("SELECT id, body, greennode_job FROM answers ORDER BY id").fetchall()
    assert rows == [(number, f"{number} 2026-01-02", "own") for number in (1, 2)]
    runs = {plan["run_id"]: plan for plan in map(_read, deployment.glob("own/*/plan.*.json"))}
    assert {plan["data_until"] for plan in runs.values()} == {moment.timestamp() for moment in days.values()}
    reports = {report["run_id"]: report["left_to_later"] for report in map(_read, deployment.glob("own/*/report.json"))}
    assert [reports[run_id] for run_id in sorted(reports)] == [2, 0]


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
