"""Retryable and final HTTP statuses, of a whole reply and of one line in a result file alike."""

import re
from http import HTTPStatus

_RETRYABLE_4XX = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)

FINAL_STATUSES = frozenset({400, 413, 422})
"""These refuse the request itself: the same request is refused again, on any other day too.

The other 4xx refuse a key, an account or a model, which somebody may fix.
"""

CREDIT_WORDS = re.compile(
    r"credit|\bplan\b|quota|balance|billing|payment|subscri|top.?up|recharge|insufficient|arrear", re.IGNORECASE
)
"""In the text of a refusal, they mean that the account is the reason."""


def is_retryable(status: int) -> bool:
    """Whether the same request may succeed another time."""
    return status in _RETRYABLE_4XX or status >= HTTPStatus.INTERNAL_SERVER_ERROR
