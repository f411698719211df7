"""Spans in a task: below the span that Airflow makes of it, with its attributes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time import task_runner
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from greennode_batch.spans import BUILD, CHAT

OF_AIRFLOW = {
    "airflow.dag_id": "tickets",
    "airflow.task_id": "attempt_1.collect_results",
    "airflow.dag_run.run_id": "manual__1",
    "airflow.task_instance.try_number": 2,
    "airflow.task_instance.map_index": 7,
}


def test_spans_of_a_task_have_its_dag_run_try_and_map_index(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(task_runner, "tracer", provider.get_tracer("airflow"))
    task = {name.rpartition(".")[2]: value for name, value in OF_AIRFLOW.items()}
    startup = SimpleNamespace(ti=SimpleNamespace(**task, context_carrier=None))
    with task_runner._make_task_span(startup) as span:
        with BUILD.open():
            pass
        CHAT.record(lambda: {"model": "m"}, began_at=1.0, ended_at=3.5)
    build, chat, _ = recorded.get_finished_spans()
    for one in (build, chat):
        assert one.parent is not None
        assert one.parent.span_id == span.get_span_context().span_id
        assert dict(one.attributes or {}) | OF_AIRFLOW == dict(one.attributes or {})
    assert (chat.name, chat.start_time, chat.end_time) == ("chat m", 10**9, 35 * 10**8)
