"""Typed rows: what a database gives back, with the types that staging keeps, as far as it can have them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import OWNER_COLUMNS
from greennode_batch.source.column_types import to_arrow

DIGEST = "greennode digest"
"""A column of what `find` gives: a number that the database makes of a row's key, custom_id and status."""

OPTIONAL = ("error", *OWNER_COLUMNS)
"""Columns of what `find` gives that are NULL of a table without them."""

_FOUND = tuple(pa.field(name, pa.string()) for name in ("custom_id", "status", "run_id", *OPTIONAL))


def found_schema(key: pa.Schema) -> pa.Schema:
    """The columns of what `find` gives, for keys of these types."""
    return pa.schema([pa.field("index", pa.int64()), *key, *_FOUND])


def from_tuples(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a driver gives them, in the schema's columns; as text where the values do not fit its type.

    SQLite gives text for a date or a decimal, 0 and 1 for a boolean; PostgreSQL a decimal for an unsigned 64-bit
    number, and each time in the session's zone.
    """
    if not rows:
        return schema.empty_table()
    columns = zip(*rows, strict=True)
    arrays = [_typed(values, field) for values, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, names=schema.names)


def from_texts(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same for columns that are all text, as COPY gives them."""
    arrays = [_parsed(rows[field.name], field.type) for field in schema]
    return pa.table(arrays, names=schema.names)


def _typed(values: Sequence[Any], field: pa.Field) -> pa.Array:
    # Most keys by far, and so thrice as fast. A fraction would be cut off without a word.
    if pa.types.is_string(field.type) or set(map(type, values)) == {int}:
        with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
            return pa.array(values, field.type)
    try:
        return to_arrow(values, field.name).cast(field.type)
    except (pa.ArrowException, ConfigError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _parsed(texts: pa.ChunkedArray, arrow: pa.DataType) -> pa.ChunkedArray:
    readings = [arrow]
    if pa.types.is_timestamp(arrow):
        # The table's column may have a zone where the source's has none, and the other way round.
        readings.append(pa.timestamp(arrow.unit, tz=None if arrow.tz else "UTC"))
    for reading in readings:
        with suppress(pa.ArrowException):
            return texts.cast(reading).cast(arrow)
    return texts
