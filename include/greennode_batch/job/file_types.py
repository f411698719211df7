"""File types: the formats and column types that a `FileSource` may declare, by name.

Every task parses the DAG file that declares a source, so nothing here loads Arrow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from greennode_batch.errors import ConfigError

FileFormat = Literal["parquet", "csv", "tsv", "jsonl"]

FORMATS: Mapping[str, FileFormat] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""File name endings and their formats. Text formats may add `.gz`."""

TYPES = ("text", "integer", "float", "boolean", "date", "timestamp", "timestamptz", "json")
"""Column types, in addition to `decimal(digits, scale)`."""

_DECIMAL = re.compile(r"decimal\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)")
_MAX_DIGITS = 76


def check_type(words: str) -> None:
    """Raise ConfigError unless the words declare a column type."""
    if words not in TYPES and decimal_digits(words) is None:
        raise ConfigError(
            f"types: {words!r} is not a type; use {', '.join(TYPES)} or decimal(digits, scale) with up to "
            f"{_MAX_DIGITS} digits"
        )


def decimal_digits(words: str) -> tuple[int, int] | None:
    """The precision and scale that a `decimal(digits, scale)` declares; None for other words."""
    found = _DECIMAL.fullmatch(words)
    if found is None:
        return None
    digits, scale = int(found[1]), int(found[2] or 0)
    return (digits, scale) if scale <= digits and 1 <= digits <= _MAX_DIGITS else None
