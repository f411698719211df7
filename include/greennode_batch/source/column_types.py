"""Column types: convert values of a database or file to Arrow types that every target can store."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import ConfigError, RowError
from greennode_batch.source.exact_json import json_text
from greennode_batch.wording import given_by

_DECIMAL128_DIGITS = 38
_DECIMAL256_DIGITS = 76


def to_arrow(values: Sequence[Any], name: str, known: pa.DataType | None = None) -> pa.Array:
    """Convert a column's values to an Arrow array; values without a plain SQL type (UUID, JSON, arrays) become text.

    known: the type that the source gives the column; by default, the values decide.

    Raises ConfigError for a column of bytes, and RowError for a value that is not of the known type.
    """
    kinds = set(map(type, values))
    if any(issubclass(kind, bytes | bytearray | memoryview) for kind in kinds):
        raise _holds_bytes(name)
    if known is not None:
        return _of_known_type(values, name, known)
    try:
        array = pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _texts(values, name)
    if _is_misread(array, values, kinds):
        return _texts(values, name)
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        # psycopg2 gives each value its own offset. All batches need the same type, or they could not be joined.
        return array.cast(pa.timestamp(array.type.unit, tz="UTC"))
    if not is_plain(array.type):
        return _texts(values, name)
    return array


def _is_misread(array: pa.Array, values: Sequence[Any], kinds: set[type]) -> bool:
    """Whether Arrow has read values as others: a number beside a date as its days, a time of day without its zone."""
    if pa.types.is_temporal(array.type) and any(issubclass(kind, int | Decimal) for kind in kinds):
        return True
    return datetime.time in kinds and any(isinstance(value, datetime.time) and value.tzinfo for value in values)


def _of_known_type(values: Sequence[Any], name: str, known: pa.DataType) -> pa.Array:
    if pa.types.is_string(known):
        return _texts(values, name)
    try:
        return pa.array(values, known)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if len(values) > 1:
            for index, value in enumerate(values):
                try:
                    _of_known_type([value], name, known)
                except RowError as one:
                    raise RowError(str(one), row=index) from None
        raise RowError(
            f"column {name}: {values[0]} is no {known} ({' '.join(str(error).split())}); cast the column to text in "
            "the source, or give another value",
            row=0,
        ) from None


def _texts(values: Sequence[Any], name: str) -> pa.Array:
    for kind in set(map(type, values)):
        # Its text would be its address, another in each process: the same rows would be paid for again.
        if all(getattr(kind, name) is getattr(object, name) for name in ("__str__", "__repr__")):
            raise ConfigError(
                f"column {name} holds values of type {kind.__module__}.{kind.__qualname__}, which have no form as "
                "text; turn them into text or numbers first, or leave the column out. Nothing was sent"
            )
    try:
        return pa.array([_text(value) for value in values], pa.string())
    except TypeError:  # a list of bytes
        raise _holds_bytes(name) from None


def _holds_bytes(name: str) -> ConfigError:
    as_text = given_by("types", f'types={{"{name}": "text"}}', value=f'{{"{name}": "text"}}')
    return ConfigError(
        f"column {name} holds bytes; encode it as text in the source (hex or base64), or leave it out. If the bytes "
        f"are text that a file does not declare as such, set {as_text}. Nothing was sent"
    )


def table_of(columns: Sequence[Sequence[Any]], names: Sequence[str]) -> pa.Table:
    """Convert columns of values to an Arrow table."""
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
    """Whether databases have an equivalent of this type, so that values keep it."""
    return any(is_one(arrow) for is_one in _PLAIN_TYPES)


_MARK = b"greennode"
_BY_VALUE = {_MARK: b"by value"}


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Merge the schemas of several batches into one.

    A column that is NULL throughout one batch takes its type from the others; a column of incompatible types becomes
    text.
    """
    by_name: dict[str, list[pa.DataType]] = {}
    for schema in schemas:
        for field in schema:
            by_name.setdefault(field.name, []).append(field.type)
    return pa.schema([pa.field(name, _common_type(types)) for name, types in by_name.items()])


def settle(schema: pa.Schema, typed: Collection[str] | None = None) -> pa.Schema:
    """Replace the null type with text: a column that is NULL in every row gives no hint of its type.

    typed: the columns whose types the source gives; None for all. Other columns of decimals, and those that were NULL,
    are marked as such whose type another run may change.
    """
    fields = []
    for field in schema:
        made = field.with_type(pa.string()) if pa.types.is_null(field.type) else field
        is_by_value = pa.types.is_decimal(field.type) and typed is not None and field.name not in typed
        fields.append(made.with_metadata(_BY_VALUE) if is_by_value or pa.types.is_null(field.type) else made)
    return pa.schema(fields)


def _number_cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast a column. Arrow itself refuses all integers beyond 2**53 as floats, also those that are equal to one."""
    if not (pa.types.is_integer(column.type) and pa.types.is_floating(wanted)):
        return column.cast(wanted)
    made = column.cast(wanted, safe=False)
    if pc.any(pc.not_equal(made.cast(column.type), column)).as_py():
        raise pa.ArrowInvalid("no float is equal to one of the integers")
    return made


def is_by_value(field: pa.Field) -> bool:
    """Whether the values of one run have decided a column's type."""
    return bool(field.metadata) and field.metadata.get(_MARK) == _BY_VALUE[_MARK]


def fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Reorder and cast a table's columns to match a unified schema.

    Raises ConfigError for a whole number that no float is equal to, in a column that also has floats.
    """
    try:
        return pa.table([_number_cast(table[field.name], field.type) for field in schema], schema=schema)
    except pa.ArrowInvalid as error:
        raise ConfigError(
            f"a column has values that have no common type ({error}); declare its type by {given_by('types')}, or cast "
            "it in the query. Nothing was sent"
        ) from error


def kept_forms(values: Sequence[Any], name: str, kept: pa.DataType) -> list[list[Any]]:
    """List the values as a column of source.parquet with type `kept` may store them.

    A value that the column cannot store is None. Usually there is one list. If the column became text because rows
    differ in type, there may be two lists: the text of a value then depended on the other rows of its batch.
    """
    if not pa.types.is_string(kept):
        return [_cast_exactly(to_arrow(values, name), kept)]
    forms = [[_text(value) for value in values]]
    if any(isinstance(value, _TWO_TEXTS) for value in values):
        forms.append([to_arrow([value], name).cast(kept)[0].as_py() for value in values])
    return forms


# Arrow and Python write these as different texts.
_TWO_TEXTS = (bool, float, Decimal, datetime.datetime, datetime.time)


def _cast_exactly(array: pa.Array, kept: pa.DataType) -> list[Any]:
    """Cast the values; None for each value that the cast would change, so that distinct values stay distinct."""
    if array.type == kept:
        return list(array.to_pylist())
    # Arrow refuses to cast any 64-bit integer to a decimal of few digits, even if the value would fit.
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
        # Arrow allows 18 digits for a 64-bit integer, then refuses the cast because an integer may have 20.
        common = pa.decimal256(common.precision + 2, common.scale)
        return pa.decimal128(common.precision, common.scale) if common.precision <= _DECIMAL128_DIGITS else common
    return common


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json_text(value)
    return str(value)


MAX_CHARACTERS = b"greennode max characters"
"""The key of a text field's metadata that says how long its values may be."""


def is_json(field: pa.Field) -> bool:
    """Whether a text column holds JSON, for which a target may have its own type."""
    return bool(field.metadata) and field.metadata.get(_MARK) == b"json"


def max_characters(field: pa.Field) -> int | None:
    """How many characters a text of this field has at most; None if nothing limits it."""
    limit = (field.metadata or {}).get(MAX_CHARACTERS)
    return None if limit is None else int(limit)


DECLARED = b"greennode declared"
"""The key of a field's metadata with the values that it may have, as JSON of DeclaredValues."""


class DeclaredValues(NamedTuple):
    """Which values a field may have, where its declaration says so."""

    words: list[str] | None = None
    """All texts that it may have."""
    least: int | None = None
    greatest: int | None = None
    """Between which bounds, both included, its integers are."""


def declared_values(field: pa.Field) -> DeclaredValues:
    """Which values a field may have; without any bounds if its declaration does not limit them."""
    made = (field.metadata or {}).get(DECLARED)
    return DeclaredValues() if made is None else DeclaredValues(*json.loads(made))
