"""Batch buffer: collects rows that the cache could not resolve until they fill a batch.

A lookup in a table costs about the same for a few rows as for a full batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from greennode_batch.incremental.row_hashes import RowHashes
from greennode_batch.source.column_types import unify
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS, column_size
from greennode_batch.source.rows import RowBatch


class BatchBuffer:
    """Holds rows within the limits of one batch.

    columns: all columns of the source.
    kept: the columns that staging stores.
    """

    def __init__(self, columns: Sequence[str], kept: Iterable[str]) -> None:
        self._columns = columns
        self._kept = dict.fromkeys(kept)
        self._parts: list[tuple[RowBatch, RowHashes]] = []
        self._rows = 0
        self._bytes = 0

    def add(self, batch: RowBatch, hashes: RowHashes) -> Iterator[tuple[RowBatch, RowHashes]]:
        """Add rows with their hashes. If the limits would be exceeded, first yield the rows held so far."""
        size = sum(column_size(batch.values(name)) for name in self._columns)
        if self._rows + len(batch) > MAX_ROWS or self._bytes + size > MAX_BYTES:
            yield from self.take()
        self._parts.append((batch, hashes))
        self._rows += len(batch)
        self._bytes += size

    def take(self) -> Iterator[tuple[RowBatch, RowHashes]]:
        """Yield the rows that are held, if there are any."""
        if self._parts:
            batches, hashes = zip(*self._parts, strict=True)
            self._parts, self._rows, self._bytes = [], 0, 0
            rows = sum(map(len, batches))
            values = {
                name: list(itertools.chain.from_iterable(batch.values(name) for batch in batches))
                for name in self._columns
            }
            arrays = {name: _as_one([batch.array(name) for batch in batches]) for name in self._kept}
            yield RowBatch(rows, values, arrays), np.concatenate(hashes)


def _as_one(arrays: Sequence[pa.Array]) -> pa.Array:
    common = unify([pa.schema([pa.field("", array.type)]) for array in arrays]).field(0).type
    return pa.concat_arrays([array.cast(common) for array in arrays])
