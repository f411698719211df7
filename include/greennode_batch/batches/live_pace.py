"""Live pace: how many live requests are under way at a time, and when the next one may be sent. Pure: no I/O.

The number grows by one with each answer until the server first refuses one, and then by one with each round of answers
(additive increase). It is halved when the server refuses requests or loses them, and lowered when answers take several
times as long as they did (multiplicative decrease), once for all requests that were under way then. The server's
Retry-After and rate headers are honoured, and so are the limits of requests and tokens a minute.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from greennode_batch.api.polling.rate_limiter import RateLimiter
from greennode_batch.errors import ConfigError
from greennode_batch.wording import given_by

_FIRST_AT_A_TIME = 8.0
_MAX_HOLD_SECONDS = 60.0
_MAX_REQUESTED_SECONDS = 900.0
# The weight of one answer in the moving average of the latency.
_SHARE_OF_ONE = 0.1
_SLOW = 4.0
_SLOWER_SHARE = 0.7
_MINUTE = 60.0


class LiveLimits(msgspec.Struct, frozen=True):
    """How much of a connection live answers may use. None: no limit."""

    max_concurrency: int = 64
    """The most requests under way at a time, of one shard."""
    max_requests_per_minute: int | None = None
    """A limit of all tasks of the connection together, which share it evenly."""
    max_tokens_per_minute: int | None = None
    """The same for prompt and completion tokens."""

    @property
    def are_shared(self) -> bool:
        """Whether a limit is one of all tasks together."""
        return self.max_requests_per_minute is not None or self.max_tokens_per_minute is not None


def read_live_limits(said: Mapping[str, Any], *, where: str = "") -> LiveLimits:
    """The limits among some fields; an empty one is the default. where: whose fields they are, for the error.

    Raises ConfigError for a value that is not a whole number of 1 or more.
    """
    prefix = f"{where}: " if where else ""
    limits: dict[str, int] = {}
    for name in LiveLimits.__struct_fields__:
        if (value := said.get(name)) in {None, ""}:
            continue
        try:
            limits[name] = msgspec.convert(value, int, strict=False)
        except msgspec.ValidationError:
            limits[name] = 0
        if limits[name] < 1:
            raise ConfigError(f"{prefix}{given_by(name)} is {value!r}; it is a whole number, 1 or more")
    return LiveLimits(**limits)


class Sent(NamedTuple):
    """A request that is under way. epoch: how often the pace had been lowered when it was sent."""

    at: float
    epoch: int
    tokens: float


class Pace:
    """How many requests may be under way. Times are seconds of one clock."""

    def __init__(self, limits: LiveLimits, now: float, *, rng: Callable[[], float] = random.random) -> None:
        self._limits = limits
        self._rng = rng
        self.at_a_time = min(_FIRST_AT_A_TIME, float(limits.max_concurrency))
        """How many requests may be under way now."""
        self.latency: float | None = None
        """How long an answer takes, in seconds, on a moving average; None before the first."""
        self.slowest = 0.0
        """The longest time that an answer has taken, in seconds."""
        self._best = math.inf
        self._tokens_each = 0.0
        self._epoch = 0
        self._is_starting = True
        self._refusals = 0
        self._held_until = now
        self._share = 1.0
        self._requests = self._limiter(limits.max_requests_per_minute, now)
        self._tokens = self._limiter(limits.max_tokens_per_minute, now)

    def share(self, workers: int, now: float) -> None:
        """Take an even share of the limits a minute, among so many workers."""
        if 1 / workers != self._share:
            self._share = 1 / workers
            self._requests = self._limiter(self._limits.max_requests_per_minute, now)
            self._tokens = self._limiter(self._limits.max_tokens_per_minute, now)

    def seconds_until_next(self, under_way: int, now: float, tokens: float = 0.0) -> float | None:
        """How long to wait before the next request. 0: send it now. None: wait for an answer first.

        tokens: how many it is expected to use.
        """
        if under_way >= int(self.at_a_time):
            return None
        waits = [self._held_until - now]
        if self._requests is not None:
            waits.append(self._requests.seconds_until_next(now))
        if self._tokens is not None:
            waits.append(self._tokens.seconds_until_next(now, self._tokens_each or tokens))
        return max(0.0, *waits)

    def sent(self, now: float, tokens: float = 0.0) -> Sent:
        """Note a request that is sent now."""
        tokens = self._tokens_each or tokens
        if self._requests is not None:
            self._requests.take(now)
        if self._tokens is not None:
            self._tokens.take(now, tokens)
        return Sent(now, self._epoch, tokens)

    def answered(self, sent: Sent, now: float, *, tokens: int, used_up_seconds: float | None = None) -> None:
        """Note an answer. tokens: what it used. used_up_seconds: until a limit of the server is reset."""
        took = now - sent.at
        self.slowest = max(self.slowest, took)
        self.latency = took if self.latency is None else self.latency + _SHARE_OF_ONE * (took - self.latency)
        self._best = min(self._best * (1 + _SHARE_OF_ONE / 100), self.latency)
        self._tokens_each += (tokens - self._tokens_each) * (_SHARE_OF_ONE if self._tokens_each else 1)
        if self._tokens is not None:
            self._tokens.take(now, tokens - sent.tokens)
        if used_up_seconds is not None:
            self._hold(used_up_seconds, now)
        if sent.epoch != self._epoch:
            return
        self._refusals = 0
        if self.latency > _SLOW * self._best:
            self._lower(_SLOWER_SHARE)
            self._best = self.latency / _SLOW
        else:
            more = 1.0 if self._is_starting else 1.0 / self.at_a_time
            self.at_a_time = min(float(self._limits.max_concurrency), self.at_a_time + more)

    def rejected(self, sent: Sent, now: float) -> None:
        """Note a request that the server rejected for its content. That says nothing about the server's load."""
        if self._tokens is not None:
            self._tokens.take(now, -sent.tokens)

    def refused(self, sent: Sent, now: float, retry_after: float | None = None) -> None:
        """Note a request that the server refused for its load, or whose reply was lost. retry_after: in seconds."""
        self.rejected(sent, now)
        if retry_after is not None:
            self._hold(retry_after + self._rng() * min(1.0, retry_after), now)
        if sent.epoch == self._epoch:
            self._refusals += 1
            self._lower(0.5)
            if retry_after is None:
                self._hold(min(_MAX_HOLD_SECONDS, 2.0 ** min(self._refusals - 1, 30)) * (0.5 + self._rng() / 2), now)

    def _lower(self, share: float) -> None:
        self._is_starting = False
        self._epoch += 1
        self.at_a_time = max(1.0, self.at_a_time * share)

    def _hold(self, seconds: float, now: float) -> None:
        self._held_until = max(self._held_until, now + min(seconds, _MAX_REQUESTED_SECONDS))

    def _limiter(self, per_minute: int | None, now: float) -> RateLimiter | None:
        """A limiter that allows no more than that in any minute, bursts included."""
        if per_minute is None:
            return None
        share = per_minute * self._share
        burst = max(1.0, share / _MINUTE)
        return RateLimiter(per_second=max(share - burst, share / 2) / _MINUTE, burst=burst, now=now)
