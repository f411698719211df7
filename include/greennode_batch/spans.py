"""Spans: the steps of a run in a trace, where the process has set up OpenTelemetry's tracing.

Airflow sets it up for each task (`[traces] otel_on`); outside Airflow, a script does. Otherwise nothing is imported and
nothing costs more than a look-up. docs/reference/spans.md lists them. They have names, counts and times, and
never a prompt, an answer, a key column, or the text of an error. A problem with them never fails a step.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
Value = str | int | float | bool | None
"""An attribute's value. None: it is left out."""

_NAMES = {
    "attempt": "greennode.attempt",
    "batch_id": "greennode.batch.id",
    "cost": "greennode.cost",
    "currency": "greennode.currency",
    "file_id": "greennode.file.id",
    "input_tokens": "gen_ai.usage.input_tokens",
    "job": "greennode.job",
    "mode": "greennode.mode",
    "model": "gen_ai.request.model",
    "operation": "gen_ai.operation.name",
    "output_tokens": "gen_ai.usage.output_tokens",
    "provider": "gen_ai.provider.name",
    "requests": "greennode.requests",
    "rows": "greennode.rows",
    "run_id": "greennode.run_id",
    "server": "server.address",
    "shard_id": "greennode.shard.id",
    "shards": "greennode.shards",
    "status": "greennode.batch.status",
}
_STATUS = "greennode.status."
PROVIDER = "greennode"
"""`gen_ai.provider.name`, whichever server it is; `server.address` has that."""
# Airflow puts these on the span of the task, the parent of ours.
_OF_AIRFLOW = "airflow."


class OpenSpan:
    """A span that has begun, or none if tracing is off."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    @property
    def is_on(self) -> bool:
        """Whether somebody records it, so that its attributes are worth finding out."""
        return self._span is not None

    def note(self, statuses: Mapping[str, int] | None = None, **values: Value) -> None:
        """Set attributes. statuses: counts of rows or requests by status. Never fails."""
        if self._span is not None:
            with _harmless():
                self._span.set_attributes(_attributes(statuses, values))


_OFF = OpenSpan()


@dataclass(frozen=True)
class Step:
    """A kind of span. attributes: those that it may have, by their short names; what: its description."""

    name: str
    kind: Literal["internal", "client"]
    attributes: tuple[str, ...]
    what: str

    @property
    def attribute_names(self) -> list[str]:
        """The names of its attributes in a trace, sorted; `*` stands for a status."""
        return sorted(f"{_STATUS}*" if name == "statuses" else _NAMES[name] for name in self.attributes)

    @contextmanager
    def open(self) -> Iterator[OpenSpan]:
        """A span around a step, below the current one. It has the name of an error that passes, never its text."""
        tracer = _tracer()
        if tracer is None:
            yield _OFF
            return
        span = context = None
        with _harmless():
            span = tracer.start_span(self.name, kind=_kind(self.kind), attributes=_inherited())
            context = _api().use_span(span, record_exception=False, set_status_on_exception=False)
            context.__enter__()
        try:
            yield OpenSpan(span)
        except BaseException as error:
            with _harmless():
                _fail(span, type(error).__name__)
            raise
        finally:
            with _harmless():
                if context is not None:
                    context.__exit__(None, None, None)
                if span is not None:
                    span.end()

    def around(
        self, before: Callable[..., Mapping[str, Any]], after: Callable[[Any], Mapping[str, Any]]
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function that is a step.

        before, after: give attributes, from its arguments and from its result. Called only where tracing is on.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            @functools.wraps(function)
            def traced(*args: P.args, **kwargs: P.kwargs) -> R:
                with self.open() as span:
                    if not span.is_on:
                        return function(*args, **kwargs)
                    with _harmless():
                        span.note(**before(*args, **kwargs))
                    made = function(*args, **kwargs)
                    with _harmless():
                        span.note(**after(made))
                    return made

            return traced

        return decorate

    def record(self, find: Callable[[], Mapping[str, Any]], *, began_at: float | None, ended_at: float) -> None:
        """Record a span of the past, below the current one. find: gives its attributes if tracing is on. Never fails.

        began_at, ended_at: epoch seconds. Without a beginning there is no span.
        """
        tracer = _tracer()
        if tracer is None or began_at is None:
            return
        with _harmless():
            values = dict(find())
            attributes = {**_inherited(), **_attributes(values.pop("statuses", None), values)}
            name = self.name.format(model=values.get("model") or "unknown")
            began, ended = (int(seconds * 1e9) for seconds in (began_at, max(began_at, ended_at)))
            tracer.start_span(name, kind=_kind(self.kind), attributes=attributes, start_time=began).end(ended)


_OF_SHARD = ("shard_id", "attempt", "server")

BUILD = Step(
    "greennode.build",
    "internal",
    ("job", "run_id", "rows", "requests", "shards"),
    "Reading the source and building the shards of a run.",
)
UPLOAD = Step(
    "greennode.upload", "client", (*_OF_SHARD, "file_id"), "Storing a shard's file at the server, or finding it there."
)
CREATE = Step(
    "greennode.create",
    "client",
    (*_OF_SHARD, "provider", "model", "file_id", "batch_id"),
    "Sending the create of a batch. It fails with the error's name if the server refuses it.",
)
CHAT = Step(
    "chat {model}",
    "client",
    (
        *("operation", "provider", "model", "input_tokens", "output_tokens"),
        *(*_OF_SHARD, "mode", "batch_id", "status", "requests", "statuses"),
    ),
    "The life of a shard's batch, from its creation to its end, or the time in which the shard was answered live. "
    "Recorded once, when its results are collected.",
)
COLLECT = Step(
    "greennode.collect",
    "client",
    (*_OF_SHARD, "requests", "statuses"),
    "Downloading a shard's results and settling its requests.",
)
WRITE = Step(
    "greennode.write",
    "internal",
    ("shard_id", "attempt", "rows", "statuses"),
    "Writing a shard's rows into the targets. Of a run into one file, all rows: it names no shard.",
)
REPORT = Step(
    "greennode.report",
    "internal",
    (
        *("job", "run_id", "rows", "requests", "shards", "statuses"),
        *("input_tokens", "output_tokens", "cost", "currency"),
    ),
    "Reconciling source, shards, results and targets.",
)


def _attributes(statuses: Mapping[str, int] | None, values: Mapping[str, Value]) -> dict[str, Any]:
    found: dict[str, Any] = {_NAMES[name]: value for name, value in values.items() if value is not None}
    return found | {f"{_STATUS}{status}": count for status, count in (statuses or {}).items()}


def _tracer() -> Any:
    """The tracer of this process; None if nobody has set up tracing.

    Who sets it up has imported the API. A set-up that only the environment names counts once somebody has imported it.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    with _harmless():
        provider = api.get_tracer_provider()
        if not isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
            return provider.get_tracer("greennode_batch")
    return None


def _api() -> Any:
    return sys.modules["opentelemetry.trace"]


def _kind(kind: str) -> Any:
    return _api().SpanKind[kind.upper()]


def _inherited() -> dict[str, Any]:
    """Airflow's attributes of the task: DAG, run, task, try and map index."""
    found: Mapping[str, Any] = getattr(_api().get_current_span(), "attributes", None) or {}
    return {name: value for name, value in found.items() if name.startswith(_OF_AIRFLOW)}


def _fail(span: Any, name: str) -> None:
    if span is not None:
        span.set_attribute("error.type", name)
        span.set_status(_api().StatusCode.ERROR)


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever is wrong with tracing, the work goes on
        _warn(type(error).__name__)


@functools.cache
def _warn(name: str) -> None:
    log.warning("Spans are not recorded: %s", name)
