"""UniqueKeys: each row has one, never NULL, never twice in the table, however large that is."""

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
from greennode_batch.wording import given_by

# So many keys may look repeated before all that came are looked through: few in a small table, whose errors are to be
# told soon, and not so few in a large one, of which the filter is fuller and a look takes longer.
_SMALL_ROWS = 1_000_000
_DOUBTS = 100_000


class UniqueKeys:
    """Checks keys batch by batch. Holds a filter of fixed size; the keys themselves lie on disk, in `work`.

    Two keys are equal where Python calls their values equal: 1 and Decimal("1.0") are. Times with a zone are compared
    as instants: in the hour that comes twice in autumn, Python calls two different ones equal.
    """

    def __init__(self, names: Sequence[str], work: Path, *, seen: BloomFilter | None = None) -> None:
        self._names = tuple(names)
        self._spilled = SpillFile[list[list[Any]]](work / "keys.pickle")
        self._seen = seen or BloomFilter()
        self.count = 0
        self._doubtful: set[Key] = set()

    def add(self, batch: RowBatch) -> list[Key]:
        """The keys of a batch of rows. Raises RowError for one that is NULL, has no equality, or came before."""
        columns = [_instants(list(batch.values(name))) for name in self._names]
        keys = list(zip(*columns, strict=True))
        if any(None in column for column in columns) or not _are_distinct(keys):
            self._refuse_odd(keys)
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)
        self._doubtful.update(keys[index] for index in np.flatnonzero(self._seen.add(hashes)))
        self.count += len(keys)
        self._spilled.add(columns)
        if len(self._doubtful) > (self.count // 1000 if self.count < _SMALL_ROWS else _DOUBTS):
            self._settle()
        return keys

    def finish(self) -> None:
        """Raise RowError if a key came twice after all."""
        self._settle()

    def tables(self) -> Iterator[pa.Table]:
        """All keys, some thousand at a time, as staging keeps them. Call `finish` before."""
        return (table_of(columns, self._names) for columns in self._spilled)

    def named(self, key: Key) -> str:
        """A row, as `row ticket_id = T-0001`."""
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
        """Look through all keys that came for those that may have come twice."""
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
    """The same values, with times that have a zone in UTC."""
    if not any(issubclass(kind, dt.datetime) for kind in set(map(type, values))):
        return values
    return [
        value.astimezone(dt.UTC) if isinstance(value, dt.datetime) and value.utcoffset() is not None else value
        for value in values
    ]


def _are_distinct(keys: Sequence[Key]) -> bool:
    try:
        return len(set(keys)) == len(keys)
    except TypeError:  # one that has no equality
        return False
