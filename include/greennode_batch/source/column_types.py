"""Column types: what a database or file gives becomes Arrow that every target can hold, the same for all batches."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError

_DECIMAL128_DIGITS = 38
_DECIMAL256_DIGITS = 76


def to_arrow(values: Sequence[Any], name: str) -> pa.Array:
    """A column of a database or file as Arrow; what has no plain type in SQL (UUID, JSON, arrays) becomes text."""
    if any(issubclass(kind, bytes | bytearray | memoryview) for kind in set(map(type, values))):
        raise ConfigError(
            f"column {name} holds bytes; encode it as text in the source (as hex or base64), or leave it out. "
            "Nothing was sent"
        )
    try:
        array = pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.array([_text(value) for value in values], pa.string())
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        # psycopg2 gives each value its own offset; one type for all chunks is what they are joined by.
        return array.cast(pa.timestamp(array.type.unit, tz="UTC"))
    if not is_plain(array.type):
        return pa.array([_text(value) for value in values], pa.string())
    return array


def table_of(columns: Sequence[Sequence[Any]], names: Sequence[str]) -> pa.Table:
    """Such columns, as a table."""
    return pa.table([to_arrow(values, name) for values, name in zip(columns, names, strict=True)], names=list(names))


_PLAIN_TYPES = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
)


def is_plain(arrow: pa.DataType) -> bool:
    """Whether a type is kept as it is, for a database has one like it."""
    return any(is_one(arrow) for is_one in _PLAIN_TYPES)


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all: a column that is NULL throughout one has the others' type, one of mixed types is text."""
    by_name: dict[str, list[pa.DataType]] = {}
    for schema in schemas:
        for field in schema:
            by_name.setdefault(field.name, []).append(field.type)
    return pa.schema([pa.field(name, _common_type(types)) for name, types in by_name.items()])


def settle(schema: pa.Schema) -> pa.Schema:
    """The schema with text for what was NULL in every row: nothing says what else it may be."""
    return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in schema])


def fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with a unified schema's columns, in its order, and types."""
    return table.select(schema.names).cast(schema)


def kept_forms(values: Sequence[Any], name: str, kept: pa.DataType) -> list[list[Any]]:
    """What a column of source.parquet that has this type makes of the values; None for one that it cannot hold.

    Mostly one list. Where the column became text, because other rows have other types, there may be two: what a value
    was written as then depended on the rows beside it.
    """
    if not pa.types.is_string(kept):
        return [_cast_exactly(to_arrow(values, name), kept)]
    forms = [[_text(value) for value in values]]
    if any(isinstance(value, _TWO_TEXTS) for value in values):
        forms.append([to_arrow([value], name).cast(kept)[0].as_py() for value in values])
    return forms


# Arrow writes these otherwise than Python does.
_TWO_TEXTS = (bool, float, Decimal, datetime.datetime, datetime.time)


def _cast_exactly(array: pa.Array, kept: pa.DataType) -> list[Any]:
    """The values as another type holds them; None for those that it would change, so that no two become one."""
    if array.type == kept:
        return list(array.to_pylist())
    # Arrow casts no integer to a decimal of few digits, whatever its value.
    back = pa.decimal256(_DECIMAL256_DIGITS, array.type.scale) if pa.types.is_decimal(array.type) else array.type
    try:
        cast = array.cast(kept)
        same = pc.equal(cast.cast(back), array.cast(back))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        half = len(array) // 2
        if not half:
            return [None] * len(array)
        return _cast_exactly(array[:half], kept) + _cast_exactly(array[half:], kept)
    return list(pc.if_else(same, cast, None).to_pylist())


def _common_type(types: Sequence[pa.DataType]) -> pa.DataType:
    try:
        fields = [pa.schema([pa.field("", one)]) for one in dict.fromkeys(types)]
        common = pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()
    if pa.types.is_decimal(common) and any(map(pa.types.is_integer, types)):
        # Arrow counts 18 digits for a 64-bit integer, and then refuses to cast one: it may have 20.
        common = pa.decimal256(common.precision + 2, common.scale)
        return pa.decimal128(common.precision, common.scale) if common.precision <= _DECIMAL128_DIGITS else common
    return common


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_json_value)
    return str(value)


def _json_value(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


_MARK = b"greennode"


def is_json(field: pa.Field) -> bool:
    """Whether a text column holds JSON: a target may have a type of its own for it."""
    return bool(field.metadata) and field.metadata.get(_MARK) == b"json"
