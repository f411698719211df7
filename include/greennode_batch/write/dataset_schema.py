"""Dataset schema: the one schema of all files of a dataset, kept beside them in `_common_metadata`.

Each run writes it, whatever types its own rows would have, so that the folder is one table to every reader. A later run
may add columns; what is declared stays.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from greennode_batch.errors import ConfigError, RowError
from greennode_batch.source.column_types import is_by_value
from greennode_batch.source.formats.declared_types import as_type

SCHEMA_FILE = "_common_metadata"
"""A file of Parquet with a schema and no rows. Readers of datasets skip names that begin with `_`."""

_MAX_DECIMAL_DIGITS = 38
_INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}


def declared_schema(schemas: Sequence[pa.Schema], rows: pa.Schema, *, but: Collection[str], name: str) -> pa.Schema:
    """The schema of a dataset for rows with these columns: what is declared, then the columns that are new.

    schemas: what is declared, in order; of files of earlier versions, the schema of each. but: the columns that folders
    hold. name: the dataset's name. Raises ConfigError for a column that cannot be written with its declared type.
    """
    fields: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            held = fields.get(field.name)
            if held is None or not _holds(held.type, _readable_type(field.type)):
                fields[field.name] = field.with_type(_readable_type(field.type))
    for field in rows:
        if field.name in but:
            continue
        held = fields.get(field.name)
        if held is None:
            fields[field.name] = _new_field(field)
        elif not (is_by_value(field) and pa.types.is_string(field.type)) and not _holds(
            held.type, _readable_type(field.type)
        ):
            raise ConfigError(
                f"dataset {name}: the column {field.name} is {held.type} in its files, and this run has {field.type}. "
                f"Nothing was sent. Cast the column to {held.type} in the source, or name another path"
            )
    return pa.schema(list(fields.values()))


def with_schema(rows: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    """Convert rows to a dataset's schema; columns that they lack are NULL.

    Raises ConfigError for a value that does not fit.
    """
    columns = []
    for field in schema:
        if field.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        column = rows[field.name]
        if pa.types.is_timestamp(field.type) and pa.types.is_timestamp(column.type):
            # Not safe: readers of datasets have no nanoseconds.
            column = column.cast(field.type, safe=False)
        try:
            columns.append(as_type(column, field.type))
        except RowError as error:
            raise ConfigError(
                f"dataset {name}: column {field.name}: {error}. The answers are safe in staging; name another path and "
                "run this step again"
            ) from None
    return pa.table(columns, schema=schema)


def _new_field(field: pa.Field) -> pa.Field:
    arrow = _readable_type(field.type)
    if not is_by_value(field):
        return field.with_type(arrow)
    # The values of one run have decided its digits, so it gets room for those of others.
    is_decimal = pa.types.is_decimal(arrow)
    return pa.field(field.name, pa.decimal128(_MAX_DECIMAL_DIGITS, arrow.scale) if is_decimal else arrow)


def _readable_type(arrow: pa.DataType) -> pa.DataType:
    """The type that every reader of datasets supports.

    Spark and Athena have no time of day, no nanoseconds, no unsigned integers and no decimals over 38 digits.
    """
    if pa.types.is_time(arrow) or (pa.types.is_decimal(arrow) and arrow.precision > _MAX_DECIMAL_DIGITS):
        return pa.string()
    if pa.types.is_timestamp(arrow):
        return pa.timestamp("us", tz=arrow.tz)
    if pa.types.is_unsigned_integer(arrow):
        return pa.decimal128(20, 0) if pa.types.is_uint64(arrow) else pa.int64()
    return arrow


def _holds(declared: pa.DataType, arrow: pa.DataType) -> bool:
    """Whether a declared type holds the values of another unchanged.

    A float holds most whole numbers; each is checked when it is written.
    """
    if declared == arrow or pa.types.is_string(declared):
        return True
    digits = _digits(arrow)
    if digits is None:
        return bool(pa.types.is_floating(declared) and pa.types.is_floating(arrow))
    if pa.types.is_floating(declared):
        return bool(pa.types.is_integer(arrow))
    held = _digits(declared)
    return held is not None and all(one >= other for one, other in zip(held, digits, strict=True))


def _digits(arrow: pa.DataType) -> tuple[int, int] | None:
    """The digits before and behind the point of a whole or a decimal number."""
    if pa.types.is_integer(arrow):
        return _INTEGER_DIGITS[arrow.bit_width], 0
    return (arrow.precision - arrow.scale, arrow.scale) if pa.types.is_decimal(arrow) else None
