"""Capacity: whether an error is about the server's load, not about the request, which can then be sent again later."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from http import HTTPStatus

from greennode_batch.api.token_limit import is_enqueued_limit
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.errors import ApiError, CreditError

FIRST_PAUSE_SECONDS = 15.0
MAX_PAUSE_SECONDS = 900.0

# OpenAI fails a batch with the code token_limit_exceeded ("Enqueued token limit reached …") while others of the same
# account are running; others speak of capacity or of too many batches.
_CODES = re.compile(r"token_limit_exceeded|rate_limit|capacity|overload|too_many|concurren|queue_full|busy")
_WORDS = re.compile(
    r"enqueued token|token limit reached|capacity|overload|too many (?:batch|request|concurrent)|queue is full|"
    r"concurren\w+ (?:batch|job|limit)|(?:try|retry)\b.{0,40}\blater",
    re.IGNORECASE,
)


def is_over_capacity(error: ApiError) -> bool:
    """Whether the server refused a call because it is full."""
    if isinstance(error, CreditError):
        return False
    return error.status == HTTPStatus.TOO_MANY_REQUESTS or _mentions_capacity((error.code or "",), (str(error),))


def failed_over_capacity(batch: Batch) -> bool:
    """Whether a batch failed before it began, only because the server was full: its file is not at fault."""
    untouched = batch.output_file_id is None and not batch.counts.completed
    return batch.status is BatchStatus.FAILED and untouched and _mentions_capacity(batch.error_codes, batch.errors)


def pause_seconds(tries: int, *, rng: Callable[[], float] = random.random) -> float:
    """Seconds to wait after try number `tries` (from 1): doubles from 15 seconds to 15 minutes, half of it jitter."""
    return min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(tries - 1, 30)) * (0.5 + rng() / 2)


def _mentions_capacity(codes: tuple[str, ...], words: tuple[str, ...]) -> bool:
    named = any(_CODES.search(code.lower()) for code in codes) or any(_WORDS.search(text) for text in words)
    return named or is_enqueued_limit(codes, "; ".join(words))
