"""Typed rows: rows from a database, converted to the types of staging where the values fit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import OWNER_COLUMNS
from greennode_batch.source.column_types import to_arrow

DIGEST = "greennode digest"
"""A column of `find`: a number that the database computes from a row's key, custom_id and status."""

OPTIONAL = ("error", *OWNER_COLUMNS)
"""Columns of `find` that are NULL if the table lacks them."""

_FOUND = tuple(pa.field(name, pa.string()) for name in ("custom_id", "status", "run_id", *OPTIONAL))


def found_schema(key: pa.Schema) -> pa.Schema:
    """The columns of `find`, for keys of these types."""
    return pa.schema([pa.field("index", pa.int64()), *key, *_FOUND])


def from_tuples(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Convert rows from a driver to the schema's types. A column whose values do not fit its type becomes text.

    SQLite returns text for dates and decimals, and 0 and 1 for booleans. PostgreSQL returns a decimal for an unsigned
    64-bit number, and times in the session's time zone.
    """
    if not rows:
        return schema.empty_table()
    columns = zip(*rows, strict=True)
    arrays = [_typed(values, field) for values, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, names=schema.names)


def from_texts(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert rows whose columns are all text, as COPY returns them, to the schema's types."""
    arrays = [_parsed(rows[field.name], field.type) for field in schema]
    return pa.table(arrays, names=schema.names)


def _typed(values: Sequence[Any], field: pa.Field) -> pa.Array:
    # Most keys by far, and three times as fast. Not for other numbers: a fraction would be lost without an error.
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
        # The table's column may have a time zone where the source's has none, and vice versa.
        readings.append(pa.timestamp(arrow.unit, tz=None if arrow.tz else "UTC"))
    for reading in readings:
        with suppress(pa.ArrowException):
            return texts.cast(reading).cast(arrow)
    return texts
