"""RateLimiter: how many calls a connection may make, over time. Pure: the clock is an argument."""

from __future__ import annotations

from greennode_batch.api.retries import MAX_RETRY_AFTER_SECONDS


class RateLimiter:
    """So many calls a second on average; unused calls are kept, up to `burst` of them. Times in seconds."""

    def __init__(self, *, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._calls = burst
        self._counted_at = now
        self._held_until = now

    def seconds_until_next(self, now: float, calls: float = 1.0) -> float:
        """Seconds to wait before the next calls; 0 if they may be made now."""
        self._count(now)
        missing = max(0.0, min(calls, self._burst) - self._calls) / self._per_second
        return max(missing, self._held_until - now, 0.0)

    def take(self, now: float, calls: float = 1.0) -> None:
        """Count calls; a negative number takes back calls that were counted and not made."""
        self._count(now)
        self._calls -= calls

    def hold(self, seconds: float, now: float) -> None:
        """Make no calls for so many seconds, as the server asks; at most two minutes are honoured."""
        self._held_until = max(self._held_until, now + min(seconds, MAX_RETRY_AFTER_SECONDS))

    def _count(self, now: float) -> None:
        earned = max(0.0, now - self._counted_at) * self._per_second
        self._calls = min(self._burst, self._calls + earned)
        self._counted_at = now
