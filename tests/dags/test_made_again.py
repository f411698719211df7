"""A run that was deleted in Airflow and made again under its old id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_emulator.answers import answer_for
from greennode_emulator.server import RunningEmulator

RunOwn = Callable[..., dict[str, list[Any]]]
MODEL = "google/gemma-4-31b-it"
LATER, LATEST = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
SENDING = {"build_requests", "attempt_1.submit_batch"}

DAG = """
from greennode_airflow.pipeline import batch_table
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

dag = batch_table(
    BatchJob(
        name="own",
        source=SqlSource(conn_id="warehouse", sql="SELECT id, body FROM questions"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ body }}",
        target=SqlTarget(conn_id="warehouse", table="answers"),
        attempts=1,
        canary=0,
    )
)
"""


@pytest.fixture(autouse=True)
def questions(warehouse: psycopg.Connection) -> None:
    warehouse.execute("CREATE TABLE questions AS SELECT i AS id, 'row ' || i AS body FROM generate_series(1, 4) i")


def answers(warehouse: psycopg.Connection) -> dict[int, str]:
    return dict(warehouse.execute("SELECT id, answer FROM answers").fetchall())


def said_of(text: str) -> str:
    return answer_for({"model": MODEL, "messages": [{"role": "user", "content": text}]}).content


def test_it_asks_what_has_changed_and_no_answer_that_is_good_is_paid_again(
    run_own: RunOwn, warehouse: psycopg.Connection, emulator: RunningEmulator, deployment: Path
) -> None:
    run_own(DAG)
    warehouse.execute("UPDATE questions SET body = 'other' WHERE id = 1")
    for started in (LATER, LATEST):
        done = run_own(DAG, started=started)
        assert answers(warehouse)[1] == said_of("other")
        assert emulator.ledger(summary=True)["requests_billed"] == 5
    assert (done["report"][0]["rows"], done["report"][0]["unchanged"]) == (0, 4)
    assert len(list((deployment / "own").glob("manual__1*/plan.1.json"))) == 3, "each has its own folder"
    # Cleared, the latest one is found again.
    assert run_own(DAG, started=LATEST)["report"][0]["unchanged"] == 4
    assert len(list((deployment / "own").glob("manual__1*/plan.1.json"))) == 3


def test_batches_of_the_deleted_run_are_cancelled_and_what_they_have_answered_is_used(
    run_own: RunOwn, warehouse: psycopg.Connection, emulator: RunningEmulator, deployment: Path
) -> None:
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    run_own(DAG, only=SENDING)
    while emulator.ledger(summary=True)["requests_billed"] < 2:
        pass
    done = run_own(DAG, started=LATER)
    assert answers(warehouse) == {number: said_of(f"row {number}") for number in range(1, 5)}
    assert (done["report"][0]["rows"], done["report"][0]["unchanged"]) == (2, 2)
    ledger = emulator.ledger(summary=True)
    assert (ledger["batches_created"], ledger["requests_billed"]) == (2, 4)
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
        assert all(batch.status.is_terminal for batch in client.list_batches())


def test_a_dry_run_of_it_cancels_nothing(
    run_own: RunOwn, emulator: RunningEmulator, warehouse: psycopg.Connection
) -> None:
    emulator.faults([{"kind": "stuck", "status": "in_progress"}])
    run_own(DAG, only=SENDING)
    run_own(DAG, only={"build_requests"}, started=LATER, conf={"dry_run": True})
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
        assert not any(batch.status.is_terminal for batch in client.list_batches())


def test_a_batch_that_the_server_has_forgotten_keeps_no_run_from_being_made_again(
    run_own: RunOwn, warehouse: psycopg.Connection, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greennode_batch.collect.collect._NEAR_SECONDS", 0.0)
    emulator.faults([{"kind": "forgotten"}])
    run_own(DAG, only=SENDING)
    run_own(DAG, started=LATER)
    assert len(answers(warehouse)) == 4
