"""Answered: the one rule for when a row of a target, or a row that goes there, needs no new request in a later run."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.answers.final_outcome import OF_THE_ROW, is_final
from greennode_batch.state.row_status import RowStatus

SETTLED = (
    RowStatus.SUCCEEDED,
    RowStatus.REFUSED,
    RowStatus.TRUNCATED,
    RowStatus.INVALID_OUTPUT,
    RowStatus.FAILED,
    RowStatus.UNSENT,
)
"""The statuses for which the same request is not sent again: an answer, or a final outcome."""

Codes = npt.NDArray[np.uint8]
"""For each row the position of its status in SETTLED, counted from 1; 0 for a row that needs a request."""

ANSWERED = 1
"""The code of a valid answer."""

FINAL_CODES = range(ANSWERED + 1, len(SETTLED) + 1)
"""The codes of final outcomes."""

_STATUSES = pa.array([status.value for status in SETTLED])


def is_answered(rows: pa.Table) -> pa.ChunkedArray:
    """Whether each row has a valid answer to its request. rows: with `status`; NULL means no answer."""
    return pc.fill_null(pc.equal(rows["status"], RowStatus.SUCCEEDED.value), fill_value=False)


def settled(rows: pa.Table, final_for: str | None) -> Codes:
    """The code of each row that needs no new request, if its request stays the same.

    rows: with the columns of `found_schema`.
    final_for: the answer model whose final outcomes count; with None, no final outcome counts.

    A row without an owner was written by an earlier version: then status and error decide whether its outcome is final.
    """
    is_settled = is_answered(rows)
    if final_for is not None:
        known = pc.is_in(rows["greennode_final"], value_set=pa.array([final_for, OF_THE_ROW]))
        derived = pc.and_(pc.is_null(rows["greennode_order"]), is_final(rows))
        is_settled = pc.or_(is_settled, pc.or_(known, derived))
    codes = pc.add(pc.index_in(rows["status"], value_set=_STATUSES), 1)
    return cast("Codes", pc.fill_null(pc.if_else(is_settled, codes, 0), 0).to_numpy().astype(np.uint8))
