"""Rendered batch: rows of a source with their requests, stored as Arrow so that another task need not render them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from greennode_batch.request.request_lines import RequestLines, RequestTemplate
from greennode_batch.source.rows import RowBatch

_REQUEST_COLUMNS = 7


def stored_batch(batch: RowBatch, names: Sequence[str], requests: Sequence[RequestLines]) -> pa.RecordBatch:
    """Store these columns of the rows, as staging keeps them, and seven columns for the requests of each model."""
    columns = [batch.array(name) for name in names]
    for one in requests:
        columns += (
            pa.array(one.custom_ids, pa.string()),
            pa.array(one.lines, pa.binary()),
            pa.array(one.characters, pa.int64()),
            pa.array(one.other_bytes, pa.int64()),
            pa.array(one.max_tokens, pa.int64()),
            pa.array([one.blank.get(index) for index in range(len(batch))], pa.string()),
            pa.nulls(len(batch), pa.int64()) if one.prompt_tokens is None else pa.array(one.prompt_tokens, pa.int64()),
        )
    # Columns are found by their index, because a source may use any names.
    return pa.RecordBatch.from_arrays(columns, names=[str(index) for index in range(len(columns))])


class RenderedBatch(RowBatch):
    """A batch of rows read from a stored batch.

    names: the names of its row columns.
    models: the models whose requests it holds, in order.
    """

    def __init__(self, stored: pa.RecordBatch, names: Sequence[str], models: Sequence[str]) -> None:
        super().__init__(stored.num_rows, dict(zip(names, stored.columns, strict=False)))
        self._stored = stored
        self._names = names
        self._models = models

    def take(self, indexes: Sequence[int]) -> RenderedBatch:
        """Select rows by their indexes."""
        return RenderedBatch(self._stored.take(pa.array(indexes, pa.int64())), self._names, self._models)

    def requests(self, template: RequestTemplate) -> RequestLines:
        """The requests that the template made of the rows."""
        first = len(self._names) + _REQUEST_COLUMNS * self._models.index(template.model)
        *others, blank, prompt_tokens = self._stored.columns[first : first + _REQUEST_COLUMNS]
        reasons = {index: blank[index].as_py() for index in np.flatnonzero(blank.is_valid()).tolist()}
        counted = None if prompt_tokens.null_count else prompt_tokens.to_pylist()
        values = (column.to_pylist() for column in others)
        return RequestLines._make((template.model, *values, reasons, counted))
