"""Polling: when to look at a batch again. Pure: the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from greennode_batch.api.wire import Batch

MIN_POLL_SECONDS = 1.0
MAX_POLL_SECONDS = 60.0
_SHARE_OF_AGE = 0.1


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Done:
    """Stop waiting: the batch ended, or the deadline passed."""

    reason: Literal["ended", "deadline"]


def next_step(batch: Batch, *, now: float, deadline: float) -> Wait | Done:
    """Wait or stop. `now` and `deadline` are epoch seconds.

    A batch is looked at often while it is young and ever less often after: the interval is a tenth of its
    age, from 1 second to 1 minute. So its end is noticed within a tenth of the time that it took.
    """
    if batch.status.is_terminal:
        return Done("ended")
    if now >= deadline:
        return Done("deadline")
    age = now - (batch.created_at or now)
    return Wait(min(max(age * _SHARE_OF_AGE, MIN_POLL_SECONDS), MAX_POLL_SECONDS, deadline - now))
