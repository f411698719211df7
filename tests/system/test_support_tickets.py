"""The whole path through a real Airflow: scheduler, triggerer, LocalExecutor on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from greennode_local.airflow_client import DAG_RUN_ENDS
from greennode_local.demo_outcome import read_outcome
from greennode_local.processes import wait_until
from greennode_local.run_progress import failed_logs
from greennode_local.samples import SAMPLES
from greennode_local.stack import LocalStack

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]
DAG = "support_tickets"


@pytest.fixture(scope="module")
def finished_run(stack: LocalStack) -> tuple[str, set[str]]:
    """A run that has ended well: its id, and the states in which its wait was seen."""
    client = stack.airflow.client
    # Its batch takes so long that the wait is deferred, and seen to be, on a busy machine too.
    slow = {"kind": "stuck", "status": "in_progress", "seconds": 15}
    stack.emulator.http.post(f"{stack.emulator.url}/_emulator/faults", json=[slow]).raise_for_status()
    client.unpause(DAG)
    run_id = client.trigger(DAG)
    seen = set()

    def is_over() -> bool:
        waits = [ti for ti in client.task_instances(DAG, run_id) if ti["task_id"] == "attempt_1.wait_for_batch"]
        seen.update(ti["state"] for ti in waits)
        return client.dag_run(DAG, run_id)["state"] in DAG_RUN_ENDS

    # Asked without a pause, the API server would take a core from what it is asked about.
    wait_until(is_over, what=f"the run of {DAG}", seconds=900, services=stack.services, poll_seconds=0.3)
    assert client.dag_run(DAG, run_id)["state"] == "success", failed_logs(client, DAG, run_id)
    return run_id, seen


def test_every_row_comes_out_with_an_answer_that_was_paid_once(
    stack: LocalStack, finished_run: tuple[str, set[str]]
) -> None:
    with stack.warehouse() as connection:
        outcome = read_outcome(connection, SAMPLES[DAG])
    outcome.check()
    assert outcome.by_status == {"succeeded": outcome.rows_in}
    ledger = stack.emulator.ledger(summary=False)
    assert set(ledger["requests"].values()) == {1}
    # A pilot goes first, for nobody has read results of this server before.
    assert ledger["batches_created"] == 2


def test_the_wait_was_in_the_triggerer_and_not_on_a_worker(
    stack: LocalStack, finished_run: tuple[str, set[str]]
) -> None:
    run_id, seen = finished_run
    assert "deferred" in seen
    log = stack.airflow.client.task_log(DAG, run_id, "attempt_1.wait_for_batch", map_index=0)
    assert "is over: ended, COMPLETED" in log


def test_the_report_is_the_runs_result(stack: LocalStack, finished_run: tuple[str, set[str]]) -> None:
    run_id, _ = finished_run
    report = stack.airflow.client.xcom(DAG, run_id, "report")
    assert report["rows"] == report["statuses"]["succeeded"] > 300


def test_the_api_key_is_in_no_log_xcom_or_staging_file(stack: LocalStack, finished_run: tuple[str, set[str]]) -> None:
    key = stack.emulator.api_key
    files = [
        path for folder in (stack.staging, stack.airflow.home.logs) for path in folder.rglob("*") if path.is_file()
    ]
    assert any(path.name == "receipt.1.json" for path in files)
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        assert key.encode() not in path.read_bytes(), path
    with stack.postgres.connect("airflow") as connection:
        for table in ("xcom", "rendered_task_instance_fields", "trigger", "task_instance", "serialized_dag"):
            found = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            assert not [row for (row,) in found if key in row], table


def test_a_cleared_run_finds_what_it_has_and_pays_nothing(
    stack: LocalStack, finished_run: tuple[str, set[str]]
) -> None:
    run_id, _ = finished_run
    client = stack.airflow.client
    before = stack.emulator.ledger(summary=True)
    client.clear(DAG, run_id, ["build_requests"], downstream=True)
    assert client.wait_for_run(DAG, run_id, seconds=600) == "success", failed_logs(client, DAG, run_id)
    after = stack.emulator.ledger(summary=True)
    assert {name: after[name] for name in ("batches_created", "requests_billed", "files_uploaded")} == {
        name: before[name] for name in ("batches_created", "requests_billed", "files_uploaded")
    }


def test_each_step_is_a_span_below_that_of_its_task_without_the_key_and_the_prompt(
    stack: LocalStack, finished_run: tuple[str, set[str]], collector: Any
) -> None:
    steps = {"greennode.build", "greennode.upload", "greennode.create", "greennode.collect", "greennode.write"}
    steps |= {"greennode.report", "chat google/gemma-4-31b-it"}

    def kinds_above() -> dict[str, list[str]]:
        spans = {}
        for body in list(collector.bodies):
            for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.update({span.span_id: span for scope in sent.scope_spans for span in scope.spans})

        def kinds(span: Any) -> list[str]:
            parent = spans.get(span.parent_span_id)
            return [] if parent is None else [parent.name.partition(".")[0], *kinds(parent)]

        return {span.name: kinds(span) for span in spans.values()}

    # Airflow sends them every five seconds.
    wait_until(
        lambda: all(kinds_above().get(step, [])[-3:] == ["worker", "task_run", "dag_run"] for step in steps),
        what="a span of each step below that of its task",
        seconds=60,
        services=stack.services,
        poll_seconds=0.3,
    )
    for body in collector.bodies:
        assert stack.emulator.api_key.encode() not in body
        assert b"Subject: " not in body
