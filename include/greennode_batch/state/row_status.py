"""RowStatus: what became of a row, in one word."""

from __future__ import annotations

from enum import StrEnum


class RowStatus(StrEnum):
    """What became of a row. Only a `succeeded` row has a usable answer.

    If you add a status, add a row to docs/how-to/operations.md, and a label to the page's format.js if its name is not
    clear.
    """

    SUCCEEDED = "succeeded"
    INVALID_OUTPUT = "invalid_output"  # the answer does not match the answer model, or is empty
    TRUNCATED = "truncated"  # cut at max_tokens
    REFUSED = "refused"  # by a content filter or by the model itself
    FAILED = "failed"  # the API returned an error, which is in `error`
    EXPIRED = "expired"  # the batch's window closed first
    CANCELLED = "cancelled"
    MISSING = "missing"  # in neither file of a finished batch
    UNSENT = "unsent"  # never sent: too long, or an empty prompt; or not sent again: over budget
