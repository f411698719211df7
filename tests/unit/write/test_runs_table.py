"""The table of runs, in real databases."""

from __future__ import annotations

import datetime
import sqlite3
from contextlib import closing

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from greennode_batch.cost.estimate import estimate
from greennode_batch.errors import ConfigError
from greennode_batch.job.prices import Price, Prices
from greennode_batch.job.targets import FileTarget, SqlTarget
from greennode_batch.state.actual_cost import ModelCost
from greennode_batch.state.run_report import RunReport
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.runs_table import RUNS_KEY, write_run

STARTED = datetime.datetime(2026, 11, 24, 8, 30, tzinfo=datetime.UTC)
ENDED = STARTED + datetime.timedelta(hours=3)
REPORT = RunReport(
    job="tickets",
    run_id="manual__1",
    rows=7,
    requests=6,
    shards=2,
    statuses={"succeeded": 6, "unsent": 1},
    prompt_tokens=300,
    completion_tokens=30,
    prompt_hash="abc",
    currency="USD",
    estimate=estimate({"m": 100}, {"m": 4}, {"m": 40}, Prices({"m": Price(10_000, 10_000)})),
    models=(
        ModelCost(
            model="m", requests=4, statuses={"succeeded": 4, "unsent": 1}, prompt_tokens=200, completion_tokens=20,
            cached_tokens=50, reasoning_tokens=5, cost=1.25, saving=1.25,
        ),
        ModelCost(
            model="n", requests=2, statuses={"succeeded": 2}, prompt_tokens=100, completion_tokens=10, cost=None,
            saving=None,
        ),
    ),
    started_at=STARTED.timestamp(),
    ended_at=ENDED.timestamp(),
)  # fmt: skip


@pytest.fixture(params=["psycopg", "sqlite3", "postgresql engine", "sqlite engine"])
def connection(request, tmp_path):
    kind, _, is_engine = request.param.partition(" ")
    if is_engine:
        dsn = f"sqlite:///{tmp_path}/runs.db"
        if kind == "postgresql":
            dsn = request.getfixturevalue("database").replace("postgresql", "postgresql+psycopg", 1)
        made = sa.create_engine(dsn)
        yield made
        made.dispose()
        return
    opened = sqlite3.connect(tmp_path / "runs.db") if kind == "sqlite3" else None
    with closing(opened or psycopg.connect(request.getfixturevalue("database"))) as made:
        yield made


@pytest.fixture
def write(connection):
    def run(made, dag_id="tickets"):
        write_run(sql_table(connection, "greennode_runs", RUNS_KEY, add_columns=True), made, dag_id=dag_id)

    return run


@pytest.fixture
def fetch(connection):
    """The table's rows as dicts, by model."""

    def run(order="dag_id, run_id, model"):
        query = f"SELECT * FROM greennode_runs ORDER BY {order}"
        if isinstance(connection, sa.Engine):
            with connection.connect() as one:
                return [dict(row) for row in one.execute(sa.text(query)).mappings()]
        cursor = connection.cursor()
        cursor.execute(query)
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        connection.rollback()
        return rows

    return run


def test_a_run_has_a_row_for_each_model(write, fetch):
    write(REPORT)
    first, second = fetch()
    assert {name: first[name] for name in ("dag_id", "run_id", "model", "job", "prompt_hash", "currency")} == {
        "dag_id": "tickets", "run_id": "manual__1", "model": "m", "job": "tickets", "prompt_hash": "abc",
        "currency": "USD",
    }  # fmt: skip
    assert [first[name] for name in ("requests", "succeeded", "unsent", "failed")] == [4, 4, 1, 0]
    tokens = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    assert [first[name] for name in tokens] == [200, 20, 50, 5]
    assert (first["cost"], first["saving"], first["estimated_cost"]) == (1.25, 1.25, pytest.approx(0.7))
    assert (second["model"], second["cost"], second["saving"], second["estimated_cost"]) == ("n", None, None, None)
    assert first["balanced"] == 1
    # Of databases without moments it is text, or a time in UTC.
    assert "2026-11-24" in str(first["started_at"])


def test_a_run_that_is_accounted_for_again_keeps_its_rows(write, fetch):
    write(REPORT)
    (model, other) = REPORT.models
    write(msgspec.structs.replace(REPORT, models=(msgspec.structs.replace(model, cost=2.5), other)))
    assert [row["cost"] for row in fetch()] == [2.5, None]


def test_runs_of_another_dag_or_of_another_day_have_rows_of_their_own(write, fetch):
    write(REPORT)
    write(REPORT, dag_id="nightly.tickets")
    write(msgspec.structs.replace(REPORT, run_id="manual__2"))
    assert [(row["dag_id"], row["run_id"]) for row in fetch()] == [
        *[("nightly.tickets", "manual__1")] * 2, *[("tickets", "manual__1")] * 2, *[("tickets", "manual__2")] * 2,
    ]  # fmt: skip


def test_a_table_of_runs_that_is_the_table_of_answers_is_refused(make_job):
    with pytest.raises(ConfigError, match="runs_table is the table of the answers"):
        make_job(target=SqlTarget(conn_id="w", table="answers", runs_table="answers"))


def test_only_a_target_that_names_one_has_a_table_of_runs(make_job):
    job = make_job(target=(SqlTarget(conn_id="w", table="a", runs_table="r"), FileTarget(path="/x/")))
    assert job.targets[0].runs() == SqlTarget(conn_id="w", table="r", add_columns=True)
    assert SqlTarget(conn_id="w", table="a").runs() is None
