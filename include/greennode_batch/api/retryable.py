"""Retryable HTTP statuses, of a whole reply and of one line in a result file alike."""

from http import HTTPStatus

_RETRYABLE_4XX = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


def is_retryable(status: int) -> bool:
    """Whether the same request may succeed another time."""
    return status in _RETRYABLE_4XX or status >= HTTPStatus.INTERNAL_SERVER_ERROR
