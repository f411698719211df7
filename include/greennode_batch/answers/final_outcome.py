"""Final outcome: what became of a row whose request would end so again. Only another request can change it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.api.retryable import CREDIT_WORDS, FINAL_STATUSES
from greennode_batch.state.row_status import RowStatus

OF_THE_ROW = "row"
"""What the outcome of a row is final for that asks nothing, or too much: no answer model was needed to see it."""

_OF_THE_REQUEST = pa.array([RowStatus.REFUSED.value, RowStatus.TRUNCATED.value])
# An error begins with the HTTP status, or where the API gave none with its code.
_REJECTED = (
    rf"^(?:(?:{'|'.join(map(str, sorted(FINAL_STATUSES)))})(?: |$)"
    r"|[^ ]*(?:context_length|too_(?:long|large)|content_(?:policy|filter)))"
)


def is_final(rows: pa.Table) -> pa.ChunkedArray:
    """Whether each row's outcome is final, whatever the answer model. rows: with `status`, `error` and `custom_id`.

    An answer that does not fit is final for its own answer model alone, and once all attempts are used.
    """
    status, error = rows["status"], pc.coalesce(rows["error"], "")
    # Some servers answer 400 where the money is gone.
    is_rejected = pc.and_not(
        pc.match_substring_regex(error, _REJECTED),
        pc.match_substring_regex(error, CREDIT_WORDS.pattern, ignore_case=True),
    )
    is_failed = pc.and_(pc.equal(status, RowStatus.FAILED.value), is_rejected)
    # One that the budget stopped has an id.
    is_unsent = pc.and_(pc.equal(status, RowStatus.UNSENT.value), pc.is_null(rows["custom_id"]))
    made = pc.or_(pc.or_(pc.is_in(status, value_set=_OF_THE_REQUEST), is_failed), is_unsent)
    return pc.fill_null(made, fill_value=False)
