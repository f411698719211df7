"""Requests and tokens a minute, as a gateway counts them: in windows of a minute, each from its first call."""

import math
from dataclasses import dataclass, field

from greennode_emulator.refusals import RefusedError

WINDOW_SECONDS = 60


@dataclass
class _Window:
    """The use of one limit in the current window."""

    name: str
    limit: int
    ends: float = 0.0
    used: int = 0

    def turn(self, now: float) -> None:
        if now >= self.ends:
            self.ends, self.used = now + WINDOW_SECONDS, 0

    def wait_seconds(self, now: float) -> int:
        """Whole seconds until there is capacity again; 0 if there is."""
        return 0 if self.used < self.limit else max(1, math.ceil(self.ends - now))


@dataclass
class RateLimits:
    """The limits of live answers; None: no such limit. Tokens are counted once an answer exists."""

    requests: int | None = None
    tokens: int | None = None
    _windows: dict[str, _Window] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Start with nothing used."""
        self.reset()

    def reset(self) -> None:
        """Reset all use."""
        limits = {"Requests": self.requests, "Tokens": self.tokens}
        self._windows = {name: _Window(name, limit) for name, limit in limits.items() if limit is not None}

    def admit(self, now: float) -> RefusedError | None:
        """Count one request, or refuse it if a limit is reached."""
        for window in self._windows.values():
            window.turn(now)
        if any(window.wait_seconds(now) for window in self._windows.values()):
            message = "API rate limit exceeded"
            return RefusedError(429, message, code="rate_limit_exceeded", kind="rate_limit_error")
        self._use("Requests", 1)
        return None

    def use_tokens(self, tokens: int) -> None:
        """Count the tokens of an answer."""
        self._use("Tokens", tokens)

    def headers(self, now: float) -> dict[str, str]:
        """The rate limit headers of every reply; Retry-After if a limit is reached."""
        headers = {}
        for window in self._windows.values():
            headers[f"X-RateLimit-Limit-{window.name}"] = str(window.limit)
            headers[f"X-RateLimit-Remaining-{window.name}"] = str(max(0, window.limit - window.used))
            headers[f"X-RateLimit-Reset-{window.name}"] = str(max(0, math.ceil(window.ends - now)))
        waits = [window.wait_seconds(now) for window in self._windows.values()]
        if any(waits):
            headers["Retry-After"] = str(max(waits))
        return headers

    def _use(self, name: str, amount: int) -> None:
        window = self._windows.get(name)
        if window is not None:
            window.used += amount
