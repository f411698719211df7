"""Unique keys: checks that every row has a key, never NULL and never twice, however large the table is."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from greennode_batch.errors import RowError
from greennode_batch.plan.bloom_filter import BloomFilter
from greennode_batch.source.column_types import table_of
from greennode_batch.source.rows import Key, RowBatch
from greennode_batch.staging.spill_file import SpillFile
from greennode_batch.tables.key_values import KeyValues
from greennode_batch.wording import given_by

# So many keys may look repeated before all keys are searched: few in a small table, so that errors appear soon; more in
# a large one, where the filter is fuller and a search takes longer.
_SMALL_ROWS = 1_000_000
_DOUBTS = 100_000


class UniqueKeys:
    """Checks keys batch by batch. Holds a filter of fixed size; the keys themselves lie on disk, in `work`.

    Two keys are equal if Python calls their values equal, such as 1 and Decimal("1.0"). Times with a zone are compared
    as instants, because in the hour that occurs twice in autumn, Python calls two different times equal.
    """

    def __init__(self, names: Sequence[str], work: Path, *, seen: BloomFilter | None = None) -> None:
        self._names = tuple(names)
        self.values = {name: KeyValues() for name in self._names}
        """What the values of each column are, in sum."""
        self._spilled = SpillFile[list[list[Any]]](work / "keys.pickle")
        self._seen = seen or BloomFilter()
        self.count = 0
        self._doubtful: set[Key] = set()

    def add(self, batch: RowBatch) -> list[Key]:
        """Check the keys of a batch and return them.

        Raises RowError for a key that is NULL, has no equality, or came before.
        """
        columns = [_instants(list(batch.values(name))) for name in self._names]
        keys = list(zip(*columns, strict=True))
        if any(None in column for column in columns) or not _are_distinct(keys):
            self._refuse_odd(keys)
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)
        self._doubtful.update(keys[index] for index in np.flatnonzero(self._seen.add(hashes)))
        self.count += len(keys)
        for name, column in zip(self._names, columns, strict=True):
            if column:
                self.values[name].add(column)
        self._spilled.add(columns)
        if len(self._doubtful) > (self.count // 1000 if self.count < _SMALL_ROWS else _DOUBTS):
            self._settle()
        return keys

    def finish(self) -> None:
        """Raise RowError if a key that looked new occurred twice."""
        self._settle()

    def tables(self) -> Iterator[pa.Table]:
        """Yield all keys as staging stores them, a few thousand at a time. Call `finish` first."""
        return (table_of(columns, self._names) for columns in self._spilled)

    def named(self, key: Key) -> str:
        """Describe a row, as `row ticket_id = T-0001`."""
        values = ", ".join("NULL" if value is None else str(value) for value in key)
        return f"row {', '.join(self._names)} = {values}"

    def _refuse_odd(self, keys: Sequence[Key]) -> None:
        seen: set[Key] = set()
        for key in keys:
            if None in key:
                raise RowError(
                    f"{self.named(key)}: a key may not be NULL; leave such rows out of the source. Nothing was sent"
                )
            try:
                is_new = key not in seen
            except TypeError:
                raise RowError(
                    f"{self.named(key)}: a key may not be JSON or an array; cast it to text in the source. "
                    "Nothing was sent"
                ) from None
            if not is_new:
                raise self._twice(key)
            seen.add(key)

    def _settle(self) -> None:
        """Search all keys for those that may have occurred twice."""
        if not self._doubtful:
            return
        counts = Counter(
            key for columns in self._spilled for key in zip(*columns, strict=True) if key in self._doubtful
        )
        for key, count in counts.items():
            if count > 1:
                raise self._twice(key)
        self._doubtful.clear()

    def _twice(self, key: Key) -> RowError:
        way_out = given_by("key", 'key=("a", "b")', value="a,b")
        return RowError(
            f"{self.named(key)}: this key comes twice. Name all columns that identify a row ({way_out}), or make the "
            "rows unique in the source. Nothing was sent"
        )


def _instants(values: list[Any]) -> list[Any]:
    """The same values, with zoned times converted to UTC."""
    if not any(issubclass(kind, dt.datetime) for kind in set(map(type, values))):
        return values
    return [
        value.astimezone(dt.UTC) if isinstance(value, dt.datetime) and value.utcoffset() is not None else value
        for value in values
    ]


def _are_distinct(keys: Sequence[Key]) -> bool:
    try:
        return len(set(keys)) == len(keys)
    except TypeError:  # an unhashable value
        return False
