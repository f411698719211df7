"""Metrics: sent to the StatsD server or OpenTelemetry collector that Airflow's own metrics go to.

docs/reference/metrics.md lists them, docker/statsd-mapping.yaml maps them for Prometheus; a test compares all three.
"""

from __future__ import annotations

import functools
import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from greennode_airflow.runtime.airflow_features import begin_stats, send_stat

log = logging.getLogger(__name__)

# Airflow refuses characters other than ASCII letters, digits and these, and a name over 250 characters with its tags.
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_./-]")
_MAX_TAG_LENGTH = 60


@dataclass(frozen=True)
class Metric:
    """One metric. tags: its tags, beside those that Airflow adds; what: its description, in one sentence."""

    name: str
    kind: Literal["counter", "timer"]
    tags: tuple[str, ...]
    what: str

    def add(self, value: float = 1, **tags: str) -> None:
        """Add to a counter. Never fails."""
        self._send("incr", value, tags)

    def took(self, seconds: float, **tags: str) -> None:
        """Record how long something has taken. Never fails."""
        self._send("timing", timedelta(seconds=max(seconds, 0.0)), tags)

    def _send(self, kind: Literal["incr", "timing"], value: Any, tags: dict[str, str]) -> None:
        assert tags.keys() == set(self.tags), f"{self.name} has the tags {self.tags}"
        try:
            _begin()
            send_stat(kind, self.name, value, {name: tag_value(text) for name, text in tags.items()})
        except Exception as error:  # noqa: BLE001 - whatever is wrong with metrics, the work goes on
            _warn(f"{type(error).__name__}: {error}")


_BY_SHARD = ("dag_id", "conn_id")
_BY_MODEL = ("dag_id", "model")

BATCHES_SUBMITTED = Metric(
    "greennode.batches_submitted",
    "counter",
    (*_BY_SHARD, "outcome"),
    "Tries to submit a shard: `created`; `answered` live; refused with `no_room` or `no_credit`; or `failed`.",
)
BATCHES_ENDED = Metric(
    "greennode.batches_ended",
    "counter",
    (*_BY_SHARD, "status"),
    "Waits that are over, by the batch's end: `completed`, `failed`, `expired`, `cancelled`; or `deadline`, "
    "`overdue`, `forgotten`, `refused` where it has none.",
)
WAIT = Metric(
    "greennode.wait",
    "timer",
    (*_BY_SHARD, "status"),
    "From the creation of a batch to the moment that its end was noticed.",
)
POLL = Metric(
    "greennode.poll",
    "timer",
    ("conn_id", "call"),
    "A call of the poller in the triggerer: `get` for one batch, `list` for a page of them. Its count is the calls.",
)
POLL_ERRORS = Metric(
    "greennode.poll_errors",
    "counter",
    ("conn_id", "call", "error"),
    "Such calls that failed, by kind: `AuthError`, `RetryableError`, `NotFoundError`, … No wait ends by one.",
)
REQUESTS = Metric(
    "greennode.requests",
    "counter",
    (*_BY_SHARD, "status"),
    "Requests whose results were collected, of each attempt, by status.",
)
ROWS = Metric(
    "greennode.rows",
    "counter",
    (*_BY_MODEL, "status"),
    "Rows of the reports, by the status that they have in the target.",
)
TOKENS = Metric(
    "greennode.tokens",
    "counter",
    (*_BY_MODEL, "kind"),
    "Tokens of the reports, of all attempts: `prompt` (`cached` among these), `completion` (`reasoning` among these).",
)
COST = Metric(
    "greennode.cost", "counter", (*_BY_MODEL, "currency"), "What the reports say that it cost, where prices are known."
)
SAVING = Metric("greennode.saving", "counter", (*_BY_MODEL, "currency"), "What the same would have cost more live.")
LIVE_TOKENS = Metric(
    "greennode.live_tokens",
    "counter",
    ("dag_id", "kind"),
    "Those of `greennode.tokens` that were used by live answers: `prompt` and `completion`.",
)
LIVE_COST = Metric(
    "greennode.live_cost", "counter", ("dag_id", "currency"), "What of `greennode.cost` was paid for live answers."
)
RUNS_LATE = Metric(
    "greennode.runs_late", "counter", ("dag_id",), "Runs that were not over when `late_run` said that they should be."
)


def tag_value(text: str) -> str:
    """A tag's value in a form that any server accepts: short, and of plain characters."""
    return _NOT_IN_TAGS.sub("_", text)[:_MAX_TAG_LENGTH] or "none"


@functools.cache
def _begin() -> None:
    """Send the metrics where Airflow's settings say; set up once in a process.

    Airflow does this in a task's process. In the triggerer it does it for another copy of the module that sends.
    """
    begin_stats()


@functools.cache
def _warn(words: str) -> None:
    log.warning("Metrics are not sent: %s", words)
