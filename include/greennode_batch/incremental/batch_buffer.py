"""Held rows: what is left over of several batches, as one batch: a look into a table costs the same for few rows."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from greennode_batch.incremental.row_hashes import RowHashes
from greennode_batch.source.column_types import unify
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS
from greennode_batch.source.rows import RowBatch


class HeldRows:
    """Holds what is within the limits of one batch. columns: all that the source has."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._parts: list[tuple[RowBatch, RowHashes]] = []
        self._rows = 0
        self._bytes = 0

    def add(self, batch: RowBatch, hashes: RowHashes) -> Iterator[tuple[RowBatch, RowHashes]]:
        """Hold some rows, with their hashes; what was held so far comes out if all together were too large."""
        size = sum(_size(value) for name in self._columns for value in batch.values(name))
        if self._rows + len(batch) > MAX_ROWS or self._bytes + size > MAX_BYTES:
            yield from self.take()
        self._parts.append((batch, hashes))
        self._rows += len(batch)
        self._bytes += size

    def take(self) -> Iterator[tuple[RowBatch, RowHashes]]:
        """What is held, if anything is."""
        if self._parts:
            batches, hashes = zip(*self._parts, strict=True)
            self._parts, self._rows, self._bytes = [], 0, 0
            yield _Joined(batches), np.concatenate(hashes)


class _Joined:
    """Several batches of rows as one."""

    def __init__(self, parts: Sequence[RowBatch]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def values(self, column: str) -> Sequence[Any]:
        return list(itertools.chain.from_iterable(part.values(column) for part in self._parts))

    def array(self, column: str) -> pa.Array:
        arrays = [part.array(column) for part in self._parts]
        common = unify([pa.schema([pa.field(column, array.type)]) for array in arrays]).field(0).type
        return pa.concat_arrays([array.cast(common) for array in arrays])

    def take(self, places: Sequence[int]) -> RowBatch:
        owners = [(part, place) for part in self._parts for place in range(len(part))]
        chosen = itertools.groupby((owners[place] for place in places), key=operator.itemgetter(0))
        return _Joined([part.take([place for _, place in some]) for part, some in chosen])


def _size(value: Any) -> int:
    """About how many bytes a value takes."""
    if isinstance(value, str | bytes):
        return len(value)
    return len(repr(value)) if isinstance(value, dict | list) else 8
