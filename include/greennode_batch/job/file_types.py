"""File types: the formats, CSV dialects and column types that a `FileSource` may declare, by name.

Every task parses the DAG file that declares a source, so nothing here loads Arrow.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

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

DELIMITERS: Mapping[str, str] = {"csv": ",", "tsv": "\t"}
"""What separates the values of the CSV formats, unless a dialect says otherwise."""

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


class CsvDialect(NamedTuple):
    """How CSV files are written; None where the default holds."""

    delimiter: str | None = None
    """What separates values; by default a comma, and a tab in TSV."""
    quote: str | None = None
    """What encloses values; by default `"`. Empty if no value is enclosed."""
    escape: str | None = None
    """What makes the next delimiter, quote or escape character an ordinary one; by default a quote is doubled."""
    encoding: str | None = None
    """The name of the encoding; by default UTF-8."""


DEFAULT_DIALECT = CsvDialect()


def check_dialect(dialect: CsvDialect) -> None:
    """Raise ConfigError for a dialect that no CSV file has."""
    for field in ("delimiter", "quote", "escape"):
        value = getattr(dialect, field)
        if value is None or (field == "quote" and not value):
            continue
        if len(value) != 1 or not value.isascii() or value in "\r\n\0":
            empty = "; an empty one says that no value is in quotes" if field == "quote" else ""
            raise ConfigError(f"{field} is {value!r}; it is one ASCII character, and no line end{empty}")
    said = [value for value in dialect[:3] if value]
    if len(set(said)) < len(said):
        raise ConfigError("delimiter, quote and escape are three different characters; quotes are doubled by default")
    if dialect.encoding is not None and not _is_text_encoding(dialect.encoding):
        raise ConfigError(f"encoding: {dialect.encoding!r} is no encoding of text; use a name such as 'cp1252'")


def _is_text_encoding(name: str) -> bool:
    try:
        "a".encode(name)
        return codecs.lookup(name).incrementaldecoder is not None
    except (LookupError, ValueError):
        return False
