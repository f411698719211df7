"""KeySample: the first keys of a long list and how many there are, for a message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

SHOWN = 20
"""How many keys a message names."""


class KeySample:
    """Counts keys and keeps the first twenty. As a text: "1, 2, 3 and 80 more"."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.count = 0
        self._shown: list[str] = []
        for one in ids:
            self.add(one)

    def add(self, one: str) -> None:
        """Add one key."""
        self.count += 1
        if len(self._shown) < SHOWN:
            self._shown.append(one)

    def add_keys(self, keys: pa.Table) -> None:
        """Add the keys of a table's rows."""
        shown = keys.slice(0, SHOWN - len(self._shown))
        rows = zip(*(column.to_pylist() for column in shown.columns), strict=True)
        self._shown += [self.text(row) for row in rows]
        self.count += keys.num_rows

    @staticmethod
    def text(key: Sequence[Any]) -> str:
        """Format a key for a message: `7`, or `(7, de)` if it has several columns."""
        return str(key[0]) if len(key) == 1 else f"({', '.join(map(str, key))})"

    def __str__(self) -> str:
        more = self.count - len(self._shown)
        return ", ".join(self._shown) + (f" and {more:,} more" if more else "")
