"""Which error a failure is, and how long to wait before the next try. Pure functions."""

import email.utils
import random
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus

from greennode_batch.api.retryable import CREDIT_WORDS, is_retryable
from greennode_batch.errors import (
    ApiError,
    AuthError,
    CreditError,
    NotFoundError,
    RejectedError,
    RetryableError,
)

MAX_TRIES = 5
FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0
# The longest wait that a server may ask for: the first between the tries of a call, the second while a task waits
# without a worker. A wrong date, or one a month away, must not stop a run.
MAX_RETRY_AFTER_SECONDS = 120.0
MAX_REQUESTED_SECONDS = 900.0

# A rate limit also speaks of quotas and plans; only these words of a 429 mean that the credit is used up.
_QUOTA_WORDS = re.compile(
    r"insufficient[_ ](?:quota|credit|balance|fund)|billing_hard_limit|out of credit", re.IGNORECASE
)
_RESET_HEADER = re.compile(r"(?:x-)?(?:ai-)?ratelimit-reset(?:-.+)?")
_REMAINING_HEADER = re.compile(r"((?:x-)?(?:ai-)?ratelimit-)remaining(.*)")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_YEAR_SECONDS = 365 * 86_400.0


def error_type(status: int, message: str, code: str | None) -> type[ApiError]:
    """The one mapping from status to error. `exchange` decides what that means for a create."""
    words = f"{code or ''} {message}"
    if status == HTTPStatus.UNAUTHORIZED:
        return AuthError
    if status == HTTPStatus.PAYMENT_REQUIRED or (status == HTTPStatus.FORBIDDEN and CREDIT_WORDS.search(words)):
        return CreditError
    if status == HTTPStatus.TOO_MANY_REQUESTS and _QUOTA_WORDS.search(words):
        return CreditError
    if status in {404, 410}:
        return NotFoundError
    if is_retryable(status):
        return RetryableError
    return RejectedError


def next_delay(
    attempt: int,
    error: ApiError,
    *,
    rng: Callable[[], float] = random.random,
    max_tries: int = MAX_TRIES,
) -> float | None:
    """Seconds to wait after try number `attempt` (from 1) failed with `error`; None: do not try again.

    Doubles from one second to 30; the upper half is jitter. At least the wait that the server asked for
    (`error.retry_after`), up to two minutes. `rng` gives numbers in [0, 1).
    """
    if not isinstance(error, RetryableError) or attempt >= max_tries:
        return None
    backoff = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 30))
    jittered = backoff * (0.5 + rng() / 2)
    if error.retry_after is None:
        return jittered
    # Jitter on top: clients that are refused together get the same wait.
    return min(MAX_RETRY_AFTER_SECONDS, max(0.0, error.retry_after)) + rng() * min(1.0, jittered)


def honoured_seconds(requested: float | None) -> float | None:
    """The wait that the server asks for in an error, at most a quarter of an hour."""
    return None if requested is None else min(requested, MAX_REQUESTED_SECONDS)


def retry_after_seconds(status: int, headers: Mapping[str, str], *, now: float) -> float | None:
    """The wait that the server asks for: Retry-After (seconds or date), or on a 429 the reset of its rate limits.

    `headers` in lower case; `now` in epoch seconds.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    requested = headers.get("retry-after")
    if requested is not None:
        seconds = _number(requested)
        return _seconds_until(requested, now) if seconds is None else seconds
    if status != HTTPStatus.TOO_MANY_REQUESTS:
        return None
    resets = [_reset_seconds(value, now) for name, value in headers.items() if _RESET_HEADER.fullmatch(name)]
    return max((seconds for seconds in resets if seconds is not None), default=None)


def used_up_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """How long until a limit that is used up, by the headers of a good reply, is reset; None if none is.

    `headers` in lower case; `now` in epoch seconds.
    """
    used_up = [
        headers.get(f"{match[1]}reset{match[2]}", "")
        for name, value in headers.items()
        if (match := _REMAINING_HEADER.fullmatch(name)) and _number(value) == 0
    ]
    resets = [_reset_seconds(value, now) for value in used_up]
    return max((seconds for seconds in resets if seconds is not None), default=None)


def _number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"[ \t]*[0-9]{1,12}(?:\.[0-9]{1,9})?[ \t]*", value) else None


def _seconds_until(http_date: str, now: float) -> float | None:
    try:
        return max(0.0, email.utils.parsedate_to_datetime(http_date).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _reset_seconds(value: str, now: float) -> float | None:
    """Seconds from now, from an epoch time, a number of seconds, or a duration such as "6m0s" (OpenAI)."""
    seconds = _number(value)
    if seconds is not None:
        # No rate limit lasts a year, so a larger number is a time, not a wait.
        return seconds if seconds < _YEAR_SECONDS else max(0.0, seconds - now)
    parts = _DURATION.fullmatch(value.strip())
    if not value.strip() or parts is None:
        return None
    hours, minutes, secs, millis = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + secs + millis / 1000
