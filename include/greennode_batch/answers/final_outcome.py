"""Final outcome: the result of a request that would end the same way if it were sent again."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.api.retryable import CREDIT_WORDS, FINAL_STATUSES
from greennode_batch.state.row_status import RowStatus

OF_THE_ROW = "row"
"""Marks an outcome that is final whatever the answer model: the row has no prompt, or its request is too long."""

_OF_THE_REQUEST = pa.array([RowStatus.REFUSED.value, RowStatus.TRUNCATED.value])
# An error begins with the HTTP status, or with the API's code if there was no status.
_REJECTED = (
    rf"^(?:(?:{'|'.join(map(str, sorted(FINAL_STATUSES)))})(?: |$)"
    r"|[^ ]*(?:context_length|too_(?:long|large)|content_(?:policy|filter)))"
)


def is_final(rows: pa.Table) -> pa.ChunkedArray:
    """Whether each row's outcome is final, whatever the answer model. rows: with `status`, `error` and `custom_id`.

    An answer that does not match its answer model is not among them: it is final only for that model, and only after
    all attempts.
    """
    status, error = rows["status"], pc.coalesce(rows["error"], "")
    # Some servers return 400 when the account is out of credit.
    is_rejected = pc.and_not(
        pc.match_substring_regex(error, _REJECTED),
        pc.match_substring_regex(error, CREDIT_WORDS.pattern, ignore_case=True),
    )
    is_failed = pc.and_(pc.equal(status, RowStatus.FAILED.value), is_rejected)
    # A row that the budget stopped has a custom_id.
    is_unsent = pc.and_(pc.equal(status, RowStatus.UNSENT.value), pc.is_null(rows["custom_id"]))
    made = pc.or_(pc.or_(pc.is_in(status, value_set=_OF_THE_REQUEST), is_failed), is_unsent)
    return pc.fill_null(made, fill_value=False)
