"""Errors, named for what the caller does next.

Every message names the file, row or field at fault and the way out. If a request may have been paid for, it also says
what became of the money.
"""

from typing import ClassVar


class GreenNodeError(Exception):
    """Base class of all errors that this project raises."""

    is_retryable: ClassVar[bool] = True
    """Whether the failed step may succeed if it runs again. If False, somebody has to act first."""


class ConfigError(GreenNodeError):
    """A job, connection, prompt or table is wrong. Fix it and run again."""

    is_retryable = False


class RowError(ConfigError):
    """A row cannot become a request, for example because of a missing column or a NULL key. Nothing was sent."""

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row
        """The row's index in its batch of rows, if known."""


class BudgetError(GreenNodeError):
    """The run would exceed its budget, or its cost cannot be estimated. No batch was created."""

    is_retryable = False


class AccountingError(GreenNodeError):
    """Source, shards, results and target do not add up. The message has the ids."""

    is_retryable = False


class FailedRowsError(GreenNodeError):
    """More rows ended without an answer than the job allows. All rows are in the target, with their status."""

    is_retryable = False


class UnreadResultsError(GreenNodeError):
    """A batch has ended, and its result files tell next to nothing that can be read. Nothing is asked again.

    The files stay in staging and at the server, so that the right profile reads them at no cost.
    """

    is_retryable = False


class SystematicFailureError(GreenNodeError):
    """Nearly all requests of one model ended unusable for one reason. Nothing more is sent for it in this run."""

    is_retryable = False


class ApiError(GreenNodeError):
    """The API returned an error or did not answer."""

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
        """The HTTP status; None if there was no reply."""
        self.code = code
        """The API's own error code."""
        self.request_id = request_id
        """The id to quote to GreenNode's support."""
        self.retry_after = retry_after
        """How many seconds the API asks to wait before the next try."""


class AuthError(ApiError):
    """401: the key is wrong, revoked or not active yet."""


class CreditError(ApiError):
    """402, or a 403 about credit, plan or quota: the API accepts nothing until you top up the account."""

    is_retryable = False


class NotFoundError(ApiError):
    """404 or 410: the file, batch, model or path does not exist, or not yet."""

    @property
    def names_model(self) -> bool:
        """Whether the model does not exist, and not the path."""
        return "model" in f"{self.code} {self}".lower()


class RejectedError(ApiError):
    """Any other 4xx: the API would refuse the same request again."""

    is_retryable = False


class RetryableError(ApiError):
    """429, 5xx, or no connection: the request had no effect, or is safe to repeat."""


class BusyError(RetryableError):
    """Nothing was created: the server has no capacity now, or the file is not ready. Try again after `retry_after`."""


class UnfinishedError(RetryableError):
    """A batch that nobody has cancelled is not at its end, so nothing can be collected yet."""


class SplitError(BusyError):
    """The shard is larger than the server's limit, and was split: its halves are to be sent in its place, at once."""


class AmbiguousError(ApiError):
    """The request may have had an effect although no valid reply came. Check before you send it again."""
