"""Errors, named for what the caller does next.

Every message names the file, row or field at fault, says what became of the money where a request may have
been paid for, and gives the way out.
"""

from typing import ClassVar


class GreenNodeError(Exception):
    """Whatever this project raises on purpose."""

    is_retryable: ClassVar[bool] = True
    """Whether the step that raised it may succeed when it runs again. False: somebody has to act first."""


class ConfigError(GreenNodeError):
    """A job, connection, prompt or table is declared wrongly. Nothing was sent; mend it and run again."""

    is_retryable = False


class RowError(ConfigError):
    """One row cannot be made into a request (a missing column, a duplicate or NULL key). Nothing was sent.

    `row` is its place in the batch of rows that was at work, where that is known.
    """

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class BudgetError(GreenNodeError):
    """The run would go over its job's budget, or nothing tells whether it would. No batch was created for it."""

    is_retryable = False


class AccountingError(GreenNodeError):
    """Rows of the source, the shards, the results and the target do not add up. The message has the ids."""

    is_retryable = False


class FailedRowsError(GreenNodeError):
    """More rows ended without an answer than the job allows. All of them are in the target, with their status."""

    is_retryable = False


class ApiError(GreenNodeError):
    """The API answered with an error, or not at all.

    `status` is the HTTP status (None where no reply came), `code` the API's own code, `request_id` what to
    quote to GreenNode's support.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class AuthError(ApiError):
    """401: the key is wrong, revoked or not active yet."""


class CreditError(ApiError):
    """402, or a 403 that speaks of credit, plan or quota: nothing more is accepted until it is topped up."""

    is_retryable = False


class NotFoundError(ApiError):
    """404 or 410: the file, batch, model or path is not there (or not there yet)."""


class RejectedError(ApiError):
    """Any other 4xx: the same request would be refused again."""

    is_retryable = False


class RetryableError(ApiError):
    """429, 5xx, or no connection at all: the request was not carried out, or is safe to repeat."""


class BusyError(RetryableError):
    """Nothing was created: the server has no capacity now, or its file is not ready. Try again after `retry_after`."""


class AmbiguousError(ApiError):
    """The request may have been carried out though no good reply came. Look before it is sent again."""
