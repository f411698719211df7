"""Spans are tried with OpenTelemetry's own SDK: recorded in memory, and sent to a collector on loopback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from greennode_batch import spans
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import ApiError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.run import run_to_file
from greennode_batch.source.rows import Rows
from greennode_batch.spans import BUILD, CHAT, COLLECT
from greennode_batch.staging.folders import run_folder

MODEL = "google/gemma-4-31b-it"
PROMPT = "Say what this confidential letter is about: {{ text }}"
SECRETS = ("confidential", "secret-text", "sk-", "Bearer")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """Tracing as a process has it that set it up; OpenTelemetry itself allows that only once."""
    made = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: made)
    return made


@pytest.fixture
def recorded(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def client(emulator) -> Iterator[GreenNodeClient]:
    with GreenNodeClient(emulator.base_url, emulator.api_key) as made:
        yield made


def run(client, folder, **options) -> None:
    job = BatchJob(
        name="letters",
        source=FileSource(path="rows.parquet"),
        target=FileTarget(path="answers.parquet"),
        key="id",
        model=MODEL,
        prompt=PROMPT,
        **options,
    )
    run_to_file(
        job,
        lambda: Rows.from_tuples(("id", "text"), iter([[(1, "secret-text one"), (2, "secret-text two")]])),
        client,
        run_folder(folder, "dag", "run"),
        folder / "answers.parquet",
        run_id="run_1",
        sleep=lambda _: None,
    )


def by_name(recorded: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    finished = recorded.get_finished_spans()
    found = {span.name: span for span in finished}
    assert len(found) == len(finished), "each step of a run of one shard is recorded once"
    return found


def test_a_run_has_a_span_for_each_step_and_one_for_the_life_of_its_batch(recorded, client, tmp_path):
    run(client, tmp_path)
    found = by_name(recorded)
    assert list(found) == [
        "greennode.build",
        "greennode.upload",
        "greennode.create",
        f"chat {MODEL}",
        "greennode.collect",
        "greennode.write",
        "greennode.report",
    ]
    build, chat, report = found["greennode.build"], found[f"chat {MODEL}"], found["greennode.report"]
    assert build.attributes == {
        "greennode.job": "letters",
        "greennode.run_id": "run_1",
        "greennode.rows": 2,
        "greennode.requests": 2,
        "greennode.shards": 1,
    }
    batch_id = found["greennode.create"].attributes["greennode.batch.id"]
    assert chat.attributes["greennode.batch.id"] == batch_id
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.provider.name"] == "greennode"
    assert chat.attributes["gen_ai.request.model"] == MODEL
    assert chat.attributes["greennode.mode"] == "batch"
    assert chat.attributes["greennode.batch.status"] == "completed"
    assert chat.attributes["greennode.status.succeeded"] == 2
    for name in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
        assert chat.attributes[name] == report.attributes[name] > 0
    assert found["greennode.create"].start_time <= chat.start_time + 10**9
    assert chat.start_time <= chat.end_time
    assert chat.kind is trace.SpanKind.CLIENT


def test_the_attributes_are_those_that_the_reference_lists(recorded, client, tmp_path):
    run(client, tmp_path)
    steps = {one.name.format(model=MODEL): one for one in vars(spans).values() if isinstance(one, spans.Step)}
    for span in recorded.get_finished_spans():
        listed = steps[span.name].attribute_names
        got = {"greennode.status.*" if name.startswith("greennode.status.") else name for name in span.attributes}
        assert got <= set(listed), span.name


def test_neither_prompt_nor_answer_nor_key_is_in_a_span(recorded, client, emulator, tmp_path):
    run(client, tmp_path)
    emulator.faults([{"endpoint": "POST /batches", "kind": "status", "status": 400, "message": "secret-text"}])
    with pytest.raises(ApiError, match="secret-text"):
        run(client, tmp_path / "refused")
    sent = "\n".join(span.to_json() for span in recorded.get_finished_spans())
    assert "greennode.create" in sent
    for secret in (*SECRETS, emulator.api_key):
        assert secret not in sent


def test_live_answers_of_a_shard_are_one_span_with_counts(recorded, client, tmp_path):
    run(client, tmp_path, live=Live(only=True))
    chat = by_name(recorded)[f"chat {MODEL}"]
    assert chat.attributes["greennode.mode"] == "live"
    assert chat.attributes["greennode.requests"] == 2
    assert "greennode.batch.id" not in chat.attributes
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0


def test_a_step_that_fails_has_the_errors_name_and_not_its_words(recorded):
    with pytest.raises(KeyError), BUILD.open():
        raise KeyError("secret-text")
    (span,) = recorded.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes == {"error.type": "KeyError"}
    assert span.events == ()


def test_a_span_stands_below_the_tasks_and_has_its_attributes(provider, recorded):
    tracer = provider.get_tracer("airflow")
    airflow = {"airflow.dag_id": "d", "airflow.task_id": "t", "airflow.task_instance.map_index": 3}
    with tracer.start_as_current_span("worker.t", attributes={**airflow, "other": "x"}) as task, COLLECT.open() as span:
        span.note(shard_id="s", attempt=1, server=None)
    collect, _ = recorded.get_finished_spans()
    assert collect.parent.span_id == task.get_span_context().span_id
    assert collect.attributes == {**airflow, "greennode.shard.id": "s", "greennode.attempt": 1}


def test_what_is_wrong_with_tracing_never_fails_a_step(provider, monkeypatch):
    def broken(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("no collector")

    monkeypatch.setattr(provider, "get_tracer", broken)
    with BUILD.open() as span:
        span.note(rows=1)
    monkeypatch.undo()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(type(provider.get_tracer("x")), "start_span", broken)
    with BUILD.open() as span:
        span.note(rows=1)
    CHAT.record(broken, began_at=1.0, ended_at=2.0)
    assert BUILD.around(broken, broken)(lambda: "made")() == "made"


def test_a_collector_gets_the_spans_by_otlp(provider, client, tmp_path, collector):
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=collector.endpoint)))
    run(client, tmp_path)
    got = [ExportTraceServiceRequest.FromString(body) for body in collector.bodies]
    sent = [span for one in got for of in one.resource_spans for scope in of.scope_spans for span in scope.spans]
    assert {"greennode.build", f"chat {MODEL}", "greennode.report"} <= {span.name for span in sent}
    assert not any(secret.encode() in body for body in collector.bodies for secret in SECRETS)


def test_nothing_of_opentelemetry_is_imported_by_a_run_without_tracing():
    code = """
import json, sys
import greennode_batch.plan.build, greennode_batch.batches.submit, greennode_batch.collect.collect
import greennode_batch.reconcile.report, greennode_batch.write.target_writer
from greennode_batch.spans import BUILD
with BUILD.open() as span:
    assert not span.is_on
print(json.dumps([name for name in sys.modules if name.startswith("opentelemetry")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
