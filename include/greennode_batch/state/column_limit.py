"""Column limit: which values an existing column of a target holds. A plan keeps the limits of the answer's columns."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal[
    "text", "words", "integer", "numeric", "real", "double", "boolean", "date", "time", "timestamp", "zoned", "uuid",
    "json", "jsonb", "inet", "cidr",
]  # fmt: skip

_UUIDS, _JSON, _TIMES = "UUIDs", "valid JSON", "times as 2026-01-31 12:00:00"
_HOLDS: dict[str, str] = {
    "real": "numbers of about 7 digits, up to 3.4e38",
    "double": "numbers of about 16 digits, up to 1.8e308",
    "boolean": "true and false",
    "date": "dates as 2026-01-31, without a time",
    "time": "times of day as 12:30:00",
    "timestamp": f"{_TIMES}, without a zone",
    "zoned": _TIMES,
    "uuid": _UUIDS,
    "json": _JSON,
    "jsonb": f"{_JSON} without \\u0000",
    "inet": "IP addresses",
    "cidr": "IP networks",
}
_SHOWN_WORDS = 20


class ColumnLimit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one column of a target holds."""

    table: str
    column: str
    type: str
    """As the database writes it."""
    kind: Kind
    max_length: int | None = None
    """Of text: the most characters."""
    least: int | None = None
    greatest: int | None = None
    """Of integers: the range, both ends included."""
    digits: int | None = None
    """Of numeric: the most digits, those behind the point included; None if any number fits."""
    scale: int | None = None
    """Of numeric and times: the most digits behind the point."""
    words: tuple[str, ...] = ()
    """Of an enumeration: its labels."""

    @property
    def holds(self) -> str:
        """What the column holds, in words."""
        if self.kind == "text":
            return f"texts of at most {self.max_length:,} characters"
        if self.kind == "integer":
            return f"whole numbers from {self.least:,} to {self.greatest:,}"
        if self.kind == "numeric":
            if self.digits is None or self.scale is None:
                return "numbers"
            return f"numbers of {max(0, self.digits - self.scale)} digits before the point and {self.scale} behind it"
        if self.kind == "words":
            more = ", …" if len(self.words) > _SHOWN_WORDS else ""
            return f"one of {', '.join(self.words[:_SHOWN_WORDS])}{more}"
        fraction = f", with {self.scale} digits of a second" if self.scale is not None else ""
        return _HOLDS[self.kind] + fraction

    def __str__(self) -> str:
        return f"the column {self.column} of table {self.table} ({self.type}) holds {self.holds}"
