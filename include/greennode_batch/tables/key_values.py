"""KeyValues: kinds, lengths and range of the values of a key column, without the values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

ZONED = "datetime with a zone"
INDEX_BYTES = 2_400
"""Texts of this size always fit into an index. PostgreSQL allows 2,704 bytes, with a header and a model's name."""
_SHORT, _CHARACTER_BYTES = 100, 4


class KeyValues:
    """Sums up the values of a key column, batch by batch."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        """The names of their Python types; also ZONED, if a datetime has a zone."""
        self.longest = 0
        """The length of the longest text, in characters."""
        self.most_bytes = 0
        """No text has more bytes than this, in UTF-8."""
        self.least, self.greatest = 0, 0
        """The least and the greatest integer; 0 counts as well."""

    def add(self, values: Sequence[Any]) -> None:
        """Add the values of a batch, none of which is NULL."""
        kinds = set(map(type, values))
        self.kinds |= {kind.__name__ for kind in kinds}
        if kinds == {str}:
            longest = max(map(len, values))
            self.longest = max(self.longest, longest)
            most = longest * _CHARACTER_BYTES
            if longest > _SHORT:
                most = max(len(text.encode(errors="surrogatepass")) for text in values)
            self.most_bytes = max(self.most_bytes, most)
        elif kinds == {int}:
            self.least, self.greatest = min(self.least, *values), max(self.greatest, *values)
        elif datetime in kinds and any(getattr(value, "tzinfo", None) for value in values):
            self.kinds.add(ZONED)
