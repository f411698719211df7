"""The tickets' DAG against a real PostgreSQL and the emulator, in this process: whole, or its steps alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from psycopg.rows import dict_row

from greennode_emulator.server import RunningEmulator

RunTickets = Callable[..., dict[str, list[Any]]]
ANSWER = ("category", "urgency", "language", "summary")


def statuses(warehouse: psycopg.Connection) -> dict[str, int]:
    return dict(warehouse.execute("SELECT status, count(*) FROM ticket_labels GROUP BY status").fetchall())


@pytest.fixture
def run_tickets(read_dag: Callable[[str], DAG], run_steps: RunTickets, tickets: int) -> RunTickets:
    """Run the steps of the tickets' DAG."""
    return lambda **options: run_steps(read_dag("support_tickets"), **options)


def test_every_ticket_is_joined_to_its_own_answer_and_paid_once(
    run_dag: Callable[..., str],
    dag_bag: DagBag,
    warehouse: psycopg.Connection,
    tickets: int,
    emulator: RunningEmulator,
    expected_answer: Callable[..., dict[str, Any]],
) -> None:
    assert run_dag("support_tickets") == "success"
    assert statuses(warehouse) == {"succeeded": tickets}
    job = dag_bag.get_dag("support_tickets").get_task("build_requests").job
    cursor = warehouse.cursor(row_factory=dict_row)
    rows = cursor.execute(
        "SELECT s.*, l.category AS said_category, l.urgency, l.language, l.summary, l.true_category, l.custom_id "
        "FROM support_tickets s JOIN ticket_labels l USING (ticket_id)"
    ).fetchall()
    assert len(rows) == tickets
    for row in rows:
        answer = expected_answer(job.prompt, row, job.answer, **job.params)
        assert {**{name: row[name] for name in ANSWER}, "category": row["said_category"]} == answer, row["ticket_id"]
        assert row["true_category"] == row["category"]
    ledger = emulator.ledger()
    # Tickets with the same text share a request.
    assert ledger["requests_billed"] == len({row["custom_id"] for row in rows}) < tickets
    assert set(ledger["requests"].values()) == {1}


def test_a_create_that_was_accepted_and_then_dropped_is_not_paid_twice(
    run_tickets: RunTickets, warehouse: psycopg.Connection, tickets: int, emulator: RunningEmulator
) -> None:
    emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after", "count": 1}])
    run_tickets()
    assert statuses(warehouse) == {"succeeded": tickets}
    ledger = emulator.ledger()
    assert emulator.armed() == []
    assert ledger["batches_created"] == 1
    assert set(ledger["requests"].values()) == {1}


def test_an_empty_table_is_a_run_that_succeeds_and_creates_no_batch(
    run_dag: Callable[..., str], warehouse: psycopg.Connection, tickets: int, emulator: RunningEmulator
) -> None:
    warehouse.execute("DELETE FROM support_tickets")
    assert run_dag("support_tickets") == "success"
    ledger = emulator.ledger(summary=True)
    assert (ledger["files_uploaded"], ledger["batches_created"]) == (0, 0)


def test_a_second_run_leaves_the_same_rows(
    run_tickets: RunTickets, warehouse: psycopg.Connection, tickets: int
) -> None:
    run_tickets(run_id="first")
    run_tickets(run_id="second")
    assert statuses(warehouse) == {"succeeded": tickets}
    assert warehouse.execute("SELECT count(DISTINCT run_id) FROM ticket_labels").fetchone() == (1,)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            """ALTER TABLE support_tickets DROP CONSTRAINT support_tickets_pkey;
            INSERT INTO support_tickets SELECT * FROM support_tickets WHERE ticket_id = 'T-0007'""",
            "T-0007: this key comes twice",
        ),
        ("ALTER TABLE support_tickets RENAME COLUMN product TO item", 'column "product" does not exist'),
        ("CREATE TABLE ticket_labels (ticket_id text PRIMARY KEY, category text)", "ADD COLUMN"),
    ],
    ids=["a key twice", "no such column", "a target with other columns"],
)
def test_bad_input_fails_with_its_name_before_anything_is_sent(
    statement: str,
    words: str,
    run_tickets: RunTickets,
    warehouse: psycopg.Connection,
    emulator: RunningEmulator,
) -> None:
    warehouse.execute(statement)
    with pytest.raises(AirflowFailException, match=re.escape(words)):
        run_tickets(only={"build_requests"})
    ledger = emulator.ledger(summary=True)
    assert (ledger["files_uploaded"], ledger["batches_created"]) == (0, 0)


def test_the_key_is_nowhere_in_what_runs_leave_behind_and_tell(
    run_dag: Callable[..., str],
    tickets: int,
    emulator: RunningEmulator,
    deployment: Path,
    statsd: Callable[[], list[str]],
    lineage_events: Callable[[], list[dict[str, Any]]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    key = emulator.api_key
    emulator.faults([
        {"endpoint": "POST /files", "kind": "status", "status": 401, "message": f"Incorrect API key: {key}"}
    ])  # fmt: skip
    assert run_dag("support_tickets") == "failed"
    emulator.faults([
        {"kind": "line_error", "status": 400, "count": 1, "batches": 1},
        {"endpoint": "GET /batches/{id}", "kind": "status", "status": 503, "message": f"Bearer {key} has to wait"},
    ])  # fmt: skip
    assert run_dag("support_tickets") == "success"
    assert emulator.armed() == []
    output = capfd.readouterr()
    metrics, events = statsd(), lineage_events()
    assert "Incorrect API key: ***" in output.out
    assert any("status=failed" in line for line in metrics)
    assert {event["eventType"] for event in events} == {"COMPLETE", "FAIL"}
    told = "\n".join([output.out, output.err, *metrics, json.dumps(events)])
    assert key not in told
    files = [path for path in deployment.rglob("*") if path.is_file()]
    assert {"plan.1.json", "receipt.1.json", "results.parquet", "report.json"} <= {path.name for path in files}
    # What Airflow keeps: results and fields of tasks, their state, triggers, assets' events.
    home = [path for path in Path(os.environ["AIRFLOW_HOME"]).rglob("*") if path.is_file()]
    assert any(b'"batch_id": "batch_' in path.read_bytes() for path in home)
    for path in (*files, *home):
        assert key.encode() not in path.read_bytes(), path


def test_a_dry_run_shows_what_it_would_ask_and_sends_and_writes_nothing(
    run_tickets: RunTickets,
    warehouse: psycopg.Connection,
    tickets: int,
    emulator: RunningEmulator,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_tickets(only={"build_requests"}, conf={"dry_run": True}) == {"build_requests": [[]]}
    output = capfd.readouterr().out
    assert f"{tickets} rows: 323 requests in 1 shard (" in output
    assert "estimate: " in output
    assert "row ticket_id = T-0001, model google/gemma-4-31b-it" in output
    ledger = emulator.ledger(summary=True)
    assert (ledger["files_uploaded"], ledger["chat_requests_billed"]) == (0, 0)
    assert warehouse.execute("SELECT to_regclass('ticket_labels')").fetchone() == (None,)


def test_a_request_that_the_model_refuses_fails_in_seconds_with_the_apis_words(
    run_tickets: RunTickets, emulator: RunningEmulator
) -> None:
    refusal = {"kind": "status", "status": 400, "message": "'messages' must contain the word 'json'"}
    emulator.faults([{"endpoint": "POST /chat/completions", **refusal}])
    words = "rejected the request of row ticket_id = T-0001.*must contain the word 'json'"
    with pytest.raises(AirflowFailException, match=re.compile(words, re.DOTALL)):
        run_tickets(only={"build_requests"})
    assert emulator.ledger(summary=True)["files_uploaded"] == 0


def test_a_server_without_a_chat_endpoint_is_used_untried(
    run_tickets: RunTickets, warehouse: psycopg.Connection, tickets: int, emulator: RunningEmulator
) -> None:
    emulator.faults([{"endpoint": "POST /chat/completions", "kind": "status", "status": 404, "shape": "html"}])
    run_tickets()
    assert emulator.armed() == []
    assert statuses(warehouse) == {"succeeded": tickets}
