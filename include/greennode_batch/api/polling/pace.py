"""Pace: how fast a batch progresses and how long it may still take, from the counts of its polls. Pure."""

from __future__ import annotations

from typing import NamedTuple

from greennode_batch.api.wire import Batch


class _Mark(NamedTuple):
    """How many requests were done at a time."""

    at: float
    over: int


class Pace:
    """Takes the counts of each poll. They are a hint: they decide when to poll again, never that a batch has ended.

    `now` is epoch seconds everywhere.
    """

    __slots__ = ("_before", "_last", "_total")

    def __init__(self) -> None:
        self._total = 0
        self._before: _Mark | None = None
        self._last: _Mark | None = None

    def take(self, batch: Batch, *, now: float, since: float | None = None) -> None:
        """Record the counts of a poll. since: when the batch was created, if the server's time cannot be used."""
        counts = batch.counts
        over = min(counts.completed + counts.failed, counts.total)
        self._total = counts.total
        if self._last is None or over < self._last.over:
            # Requests that were done before the first poll were done after the creation. Time spent in a queue makes
            # this pace too low; the batch is then polled by its age.
            began = since or batch.created_at or now
            self._before, self._last = _Mark(min(began, now), 0), _Mark(now, over)
        elif over > self._last.over:
            self._before, self._last = self._last, _Mark(now, over)

    def per_second(self, now: float) -> float:
        """Requests per second, of late; 0 if no progress was seen. The value falls while there is no progress."""
        if self._before is None or self._last is None or now <= self._before.at:
            return 0.0
        return (self._last.over - self._before.over) / (now - self._before.at)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until all requests are done; None if unknown."""
        if self._last is None or not self._total:
            return None
        per_second = self.per_second(now)
        left = self._total - self._last.over
        return 0.0 if not left else left / per_second if per_second else None

    def full_since(self) -> float | None:
        """Since when all requests are done, or None: only the files are still to be written."""
        return self._last.at if self._last is not None and self._total and self._last.over == self._total else None

    def in_words(self, now: float) -> str:
        """For a log, after the counts: "; 3.1 a second, about 4 min left"; empty if unknown."""
        left = self.seconds_left(now)
        if not left:
            return ""
        return f"; {self.per_second(now):,.2g} a second, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} s"
