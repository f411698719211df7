"""KeySample: of many ids the first few, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

SHOWN = 20
"""How many are named."""


class KeySample:
    """Counts ids, keeps the first twenty, and reads as "1, 2, 3 and 80 more"."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.count = 0
        self._shown: list[str] = []
        for one in ids:
            self.add(one)

    def add(self, one: str) -> None:
        """One id."""
        self.count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(one)

    def add_keys(self, keys: pa.Table) -> None:
        """The keys of a table's rows."""
        shown = keys.slice(0, SHOWN - len(self._shown))
        rows = zip(*(column.to_pylist() for column in shown.columns), strict=True)
        self._shown += [self.text(row) for row in rows]
        self.count += keys.num_rows

    @staticmethod
    def text(key: Sequence[Any]) -> str:
        """A key as people read it."""
        return str(key[0]) if len(key) == 1 else f"({', '.join(map(str, key))})"

    def __str__(self) -> str:
        more = self.count - len(self._shown)
        return ", ".join(self._shown) + (f" and {more:,} more" if more else "")
