"""Watch: the state of a batch that a task waits for, and when to poll it next. Pure: the clock is an argument."""

from __future__ import annotations

import math
import zlib

from greennode_batch.api.polling.pace import Pace
from greennode_batch.api.polling.polling import (
    Done,
    Wait,
    after_failures,
    next_step,
    state_of,
    when_missing,
    when_refused,
)
from greennode_batch.api.status import BatchStatus
from greennode_batch.api.wire import Batch
from greennode_batch.errors import ApiError, GreenNodeError, NotFoundError, RetryableError

UNLISTED = math.inf
"""The page of a batch that the list does not show."""
# Batches that would be polled in the same second, such as after a restart, are spread over this share of the interval.
_JITTER = 0.15
# A batch that is due soon is polled with one that is due now, if one call can show both.
_EARLY = 0.2


class Watch:
    """A batch that a task waits for until a deadline. Times are epoch seconds.

    batch: its last known state; error: why the last poll failed, or None. due: when to poll again; early: from when on
    a poll that is made anyway counts as this one. page: the page of the list that is likely to show it, by the pages
    that did and did not. step: the outcome of the last poll. missing_since: since when the server does not find it.
    """

    __slots__ = (
        "_failures",
        "_misses",
        "_quiet_since",
        "_refused_since",
        "_spread",
        "batch",
        "batch_id",
        "began",
        "deadline",
        "due",
        "early",
        "error",
        "listed_at",
        "missing_since",
        "pace",
        "page",
        "step",
    )

    def __init__(self, batch_id: str, *, deadline: float, now: float) -> None:
        self.batch_id = batch_id
        self.deadline = deadline
        self.began = now
        self.due = self.early = now
        self.page: float = 1
        self.listed_at = -math.inf
        self.batch: Batch | None = None
        self.error: GreenNodeError | None = None
        self.missing_since: float | None = None
        self.pace = Pace()
        self.step: Wait | Done = Wait(0.0)
        self._refused_since: float | None = None
        self._failures = 0
        self._misses = 0
        self._quiet_since = now
        self._spread = 1.0 - _JITTER * (zlib.crc32(batch_id.encode()) % 1000) / 1000

    def seen(self, batch: Batch, *, now: float) -> None:
        """Record a poll that showed the batch."""
        if self.batch is None or state_of(self.batch) != state_of(batch):
            self._quiet_since = now
        self.batch, self.error = batch, None
        self.missing_since = self._refused_since = None
        self._failures = 0
        # The creation time can lie in the future if the server sends local times.
        is_past = batch.created_at is not None and batch.created_at <= now
        since = batch.created_at if is_past else self.began
        self.pace.take(batch, now=now, since=since)
        step = next_step(
            batch, now=now, deadline=self.deadline, since=since, quiet_since=self._quiet_since, pace=self.pace
        )
        self._go_on(step, now)

    def listed(self, batch: Batch, page: int, *, now: float) -> bool:
        """Record a page of the list that shows the batch. Returns whether the page shows its state.

        An entry without a status does not. A failed batch is polled singly, because lists leave out errors.
        """
        if not batch.raw_status:
            self.unlisted()
            return False
        self.page, self.listed_at, self._misses = page, now, 0
        if batch.status is BatchStatus.FAILED:
            self.page, self.due, self.early = UNLISTED, now, now
            return False
        self.seen(batch, now=now)
        return True

    def missed(self, front: int) -> None:
        """Record that the first `front` pages do not show it: expect it 1, 2, 4, … pages further on each time."""
        self.page = front + 2**self._misses
        self._misses += 1

    def unlisted(self) -> None:
        """Record that the list does not show it. That proves nothing: from now on it is polled singly."""
        self.page = UNLISTED

    def failed(self, error: GreenNodeError, *, now: float) -> None:
        """Record a failed poll. Failures end the wait only at the deadline, or if they go on for long."""
        self.error = error
        self._failures += 1
        if now >= self.deadline:
            self.step = Done("deadline", BatchStatus.UNKNOWN.name if self.batch is None else self.batch.status.name)
        elif isinstance(error, NotFoundError):
            self.missing_since = self.missing_since or now
            self._go_on(when_missing(self.missing_since, now=now), now)
        elif isinstance(error, ApiError) and not isinstance(error, RetryableError):
            self._refused_since = self._refused_since or now
            self._go_on(when_refused(self._refused_since, now=now, failures=self._failures), now)
        else:
            self._go_on(after_failures(self._failures), now)

    def _go_on(self, step: Wait | Done, now: float) -> None:
        self.step = step
        if isinstance(step, Wait):
            due = now + step.seconds * self._spread
            self.due = min(due, self.deadline) if now < self.deadline else due
            self.early = self.due - step.seconds * _EARLY
