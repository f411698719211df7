"""Polling: when to look at a batch again. Pure: the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from greennode_batch.api.polling.pace import Pace
from greennode_batch.api.status import BatchStatus
from greennode_batch.api.wire import Batch

MIN_POLL_SECONDS = 1.0
MAX_POLL_SECONDS = 60.0
DEADLINE_SECONDS = 26 * 3600.0
"""How long a batch is waited for: the API's window of 24 hours, and two more for it to say how it ended."""
FORGOTTEN_SECONDS = 1800.0
"""How long a server may not know a batch before it has forgotten it: lookups fail for a while now and then."""
QUIET_SECONDS = 1800.0
"""How long a batch that names a result file, and has a status word that nobody knows, has to stand still to be over."""
THROUGH_SECONDS = 120.0
"""The same where its counts say that every request is through."""
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


def next_step(
    batch: Batch,
    *,
    now: float,
    deadline: float,
    since: float | None = None,
    quiet_since: float | None = None,
    pace: Pace | None = None,
) -> Wait | Done:
    """Wait or stop. `now` and `deadline` are epoch seconds.

    A batch is looked at often while it is young and ever less often after: the interval is a tenth of its
    age, from 1 second to 1 minute. So its end is noticed within a tenth of the time that it took. since: when it was
    created by our own clock; without it the server's word counts. quiet_since: since when it is as it is. pace: of who
    has looked before; a batch that is nearly through is looked at when it should be.
    """
    if batch.status.is_terminal or (quiet_since is not None and _stands_still(batch, now - quiet_since)):
        return Done("ended", batch.status.name)
    if now >= deadline:
        return Done("deadline", batch.status.name)
    seconds = _interval(now - (since or batch.created_at or now))
    if pace is not None:
        seconds = min(seconds, _until_through(pace, now))
    return Wait(min(seconds, deadline - now))


def may_be_over(batch: Batch) -> bool:
    """Whether a batch may have ended in a word that nobody knows: it names a result file."""
    named = batch.output_file_id is not None or batch.error_file_id is not None
    return named and batch.status is BatchStatus.UNKNOWN


def state_of(batch: Batch) -> str:
    """All of a batch that changes while it is worked on, to see whether it stands still."""
    return f"{batch.raw_status}; {batch.counts}; {batch.output_file_id}; {batch.error_file_id}"


def _stands_still(batch: Batch, seconds: float) -> bool:
    counts = batch.counts
    is_through = 0 < counts.total <= counts.completed + counts.failed
    return may_be_over(batch) and seconds >= (THROUGH_SECONDS if is_through else QUIET_SECONDS)


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
