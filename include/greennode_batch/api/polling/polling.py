"""Polling: when to poll a batch again. Pure: the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from greennode_batch.api.polling.pace import Pace
from greennode_batch.api.status import BatchStatus
from greennode_batch.api.wire import Batch

MIN_POLL_SECONDS = 1.0
MAX_POLL_SECONDS = 60.0
DEADLINE_SECONDS = 26 * 3600.0
"""How long to wait for a batch: the API's window of 24 hours, and two more for it to report how it ended."""
FORGOTTEN_SECONDS = 1800.0
"""How long a server may fail to find a batch before it counts as forgotten: lookups fail for a while now and then."""
QUIET_SECONDS = 1800.0
"""How long a batch with a result file and an unknown status word must show no change before it counts as ended."""
THROUGH_SECONDS = 120.0
"""The same if its counts say that every request is done."""
_SHARE_OF_AGE = 0.1


@dataclass(frozen=True)
class Wait:
    """Poll again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Done:
    """Stop waiting: the batch ended, the deadline passed, or polls can show nothing new.

    `status`: the batch's last known status, in our words.
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

    Polls are frequent while a batch is young: the interval is a tenth of its age, from 1 second to 1 minute. So the end
    of a batch is noticed within a tenth of the time it took. since: when it was created by our clock; without it, the
    server's time counts. quiet_since: since when its state has not changed. pace: from earlier polls; a batch that is
    nearly done is polled when it should be done.
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
    """Whether a batch may have ended with an unknown status word: it names a result file."""
    named = batch.output_file_id is not None or batch.error_file_id is not None
    return named and batch.status is BatchStatus.UNKNOWN


def state_of(batch: Batch) -> str:
    """Everything that changes while a batch is worked on, to see whether it makes progress."""
    return f"{batch.raw_status}; {batch.counts}; {batch.output_file_id}; {batch.error_file_id}"


def _stands_still(batch: Batch, seconds: float) -> bool:
    counts = batch.counts
    is_through = 0 < counts.total <= counts.completed + counts.failed
    return may_be_over(batch) and seconds >= (THROUGH_SECONDS if is_through else QUIET_SECONDS)


def when_missing(since: float, *, now: float) -> Wait | Done:
    """The next step for a batch that the server has not found since then."""
    left = since + FORGOTTEN_SECONDS - now
    return Wait(min(_interval(now - since), left)) if left > 0 else Done("forgotten")


def when_refused(since: float, *, now: float, failures: int) -> Wait | Done:
    """The next step for a batch whose polls the API has refused since then, so many times."""
    return Done("refused") if now - since >= FORGOTTEN_SECONDS else after_failures(failures)


def after_failures(failures: int) -> Wait:
    """When to poll again after so many failed polls in a row."""
    return Wait(min(MIN_POLL_SECONDS * 2.0 ** min(failures, 30), MAX_POLL_SECONDS))


def _until_through(pace: Pace, now: float) -> float:
    """When to poll a batch by its pace alone; one that is done but does not end is polled ever less often."""
    full_since = pace.full_since()
    if full_since is not None:
        return _interval(now - full_since)
    left = pace.seconds_left(now)
    return MAX_POLL_SECONDS if left is None else max(left, MIN_POLL_SECONDS)


def _interval(age: float) -> float:
    return min(max(age * _SHARE_OF_AGE, MIN_POLL_SECONDS), MAX_POLL_SECONDS)


BUSY_SECONDS = 24 * 3600.0
