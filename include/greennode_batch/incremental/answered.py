"""Answered: the one rule by which a row of a target, or of what goes there, needs no new request of a later run."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.state.row_status import RowStatus


def is_answered(rows: pa.Table) -> pa.ChunkedArray:
    """Whether each row has a good answer to its request. rows: with `status`; a NULL there is no answer."""
    return pc.fill_null(pc.equal(rows["status"], RowStatus.SUCCEEDED.value), fill_value=False)
