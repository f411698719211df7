"""Polling: when to look at a batch again. Pure: the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from greennode_batch.api.polling.pace import Pace
from greennode_batch.api.wire import Batch

MIN_POLL_SECONDS = 1.0
MAX_POLL_SECONDS = 60.0
DEADLINE_SECONDS = 26 * 3600.0
"""How long a batch is waited for: the API's window of 24 hours, and two more for it to say how it ended."""
FORGOTTEN_SECONDS = 1800.0
"""How long a server may not know a batch before it has forgotten it: lookups fail for a while now and then."""
_SHARE_OF_AGE = 0.1


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Done:
    """Stop waiting: the batch ended, the deadline passed, or the batch will tell nothing any more.

    `status`: the batch's own, in our words, where it was seen.
    """

    reason: Literal["ended", "deadline", "forgotten", "refused", "overdue"]
    status: str = "UNKNOWN"


def next_step(batch: Batch, *, now: float, deadline: float, pace: Pace | None = None) -> Wait | Done:
    """Wait or stop. `now` and `deadline` are epoch seconds.

    A batch is looked at often while it is young and ever less often after: the interval is a tenth of its
    age, from 1 second to 1 minute. So its end is noticed within a tenth of the time that it took. pace: of who has
    looked before; a batch that is nearly through is looked at when it should be.
    """
    if batch.status.is_terminal:
        return Done("ended", batch.status.name)
    if now >= deadline:
        return Done("deadline", batch.status.name)
    seconds = _interval(now - (batch.created_at or now))
    if pace is not None:
        seconds = min(seconds, _until_through(pace, now))
    return Wait(min(seconds, deadline - now))


def when_missing(since: float, *, now: float) -> Wait | Done:
    """The same for a batch that the server has not known since then."""
    left = since + FORGOTTEN_SECONDS - now
    return Wait(min(_interval(now - since), left)) if left > 0 else Done("forgotten")


def when_refused(since: float, *, now: float, failures: int) -> Wait | Done:
    """The same for a batch that the API has refused to be asked for since then, so many times."""
    return Done("refused") if now - since >= FORGOTTEN_SECONDS else after_failures(failures)


def after_failures(failures: int) -> Wait:
    """When to look again after so many looks in a row that failed."""
    return Wait(min(MIN_POLL_SECONDS * 2.0 ** min(failures, 30), MAX_POLL_SECONDS))


def _until_through(pace: Pace, now: float) -> float:
    """When to look at a batch for its pace alone; one that is through, and does not end, ever less often."""
    full_since = pace.full_since()
    if full_since is not None:
        return _interval(now - full_since)
    left = pace.seconds_left(now)
    return MAX_POLL_SECONDS if left is None else max(left, MIN_POLL_SECONDS)


def _interval(age: float) -> float:
    return min(max(age * _SHARE_OF_AGE, MIN_POLL_SECONDS), MAX_POLL_SECONDS)


BUSY_SECONDS = 24 * 3600.0
