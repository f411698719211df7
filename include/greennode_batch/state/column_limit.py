"""Column limit: which values an existing column of a target holds. A plan keeps the limits of the answer's columns."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal[
    "text", "words", "integer", "numeric", "real", "double", "boolean", "date", "time", "timestamp", "zoned", "uuid",
    "json", "jsonb", "inet", "cidr", "array", "range", "multirange", "interval", "money", "bytes",
]  # fmt: skip

_UUIDS, _JSON, _TIMES = "UUIDs", "valid JSON", "times as 2026-01-31 12:00:00"
_HOLDS: dict[str, str] = {
    "numeric": "numbers",
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
    "array": "lists",
    "range": "ranges as [1,9)",
    "multirange": "ranges as {[1,9),[11,20)}",
    "interval": "intervals as 3 days 02:00:00 or P3DT2H",
    "money": "amounts as 1234.50, up to 92 quadrillion",
    "bytes": "texts without a backslash, and bytes as \\x and hexadecimal digits",
}
_UNITS = ("seconds", "minutes", "hours", "days", "months", "years")
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
    """Of numeric, times and intervals: the most digits behind the point.

    Of an interval without seconds, by its least unit: minutes -1, hours -2, days -3, months -4, years -5.
    """
    words: tuple[str, ...] = ()
    """Of an enumeration: its labels."""
    element: ColumnLimit | None = None
    """Of an array: what an item may be; None if nothing limits it, or only the database knows. Of a range: a bound."""

    @property
    def holds(self) -> str:
        """What the column holds, in words."""
        if self.kind == "text":
            made = f"texts of at most {self.max_length:,} characters"
        elif self.kind == "integer":
            made = f"whole numbers from {self.least:,} to {self.greatest:,}"
        elif self.kind == "numeric" and self.digits is not None and self.scale is not None:
            before = max(0, self.digits - self.scale)
            made = f"numbers of {before} digits before the point and {self.scale} behind it"
        elif self.kind == "words":
            more = ", …" if len(self.words) > _SHOWN_WORDS else ""
            made = f"one of {', '.join(self.words[:_SHOWN_WORDS])}{more}"
        else:
            made = _HOLDS[self.kind]
            if self.element is not None:
                made += f"; each {'item' if self.kind == 'array' else 'bound'}: {self.element.holds}"
            if self.scale is not None:
                unit = f"with {self.scale} digits of a second" if self.scale >= 0 else f"in whole {_UNITS[-self.scale]}"
                made += f", {unit}"
        return made

    def __str__(self) -> str:
        return f"the column {self.column} of table {self.table} ({self.type}) holds {self.holds}"
