"""Declarations: what `FileSource` may say of its files, in words: formats, and types of columns.

A DAG file that names a source is parsed in each task: nothing here needs Arrow.
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
"""Formats by the endings of files' names; `.gz` may follow where it is a text."""

TYPES = ("text", "integer", "float", "boolean", "date", "timestamp", "timestamptz", "json")
"""Types of columns, beside `decimal(digits, scale)`."""

_DECIMAL = re.compile(r"decimal\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)")
_MAX_DIGITS = 76


def check_type(words: str) -> None:
    """Raise ConfigError for words that declare no type."""
    if words not in TYPES and decimal_digits(words) is None:
        raise ConfigError(
            f"types: {words!r} is none of {', '.join(TYPES)} and decimal(digits, scale) with up to {_MAX_DIGITS} digits"
        )


def decimal_digits(words: str) -> tuple[int, int] | None:
    """How many digits a decimal has, and how many of them behind the point; None for other words."""
    found = _DECIMAL.fullmatch(words)
    if found is None:
        return None
    digits, scale = int(found[1]), int(found[2] or 0)
    return (digits, scale) if scale <= digits and 1 <= digits <= _MAX_DIGITS else None
