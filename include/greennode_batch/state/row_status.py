"""Row status: what became of a row, in one word."""

from __future__ import annotations

from enum import StrEnum


class RowStatus(StrEnum):
    """What became of a row. Only `succeeded` is an answer that can be used.

    Another status also gets its row in docs/operations.md, and words in the page's format.js where its name says too
    little.
    """

    SUCCEEDED = "succeeded"
    INVALID_OUTPUT = "invalid_output"  # does not match the answer model, or is empty
    TRUNCATED = "truncated"  # cut at max_tokens
    REFUSED = "refused"  # content filter or the model's own refusal
    FAILED = "failed"  # the API's error, in `error`
    EXPIRED = "expired"  # the batch's window closed first
    CANCELLED = "cancelled"
    MISSING = "missing"  # in neither file of a finished batch
    UNSENT = "unsent"  # never asked: too long, an empty prompt; or not asked again: over budget
