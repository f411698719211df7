"""Common types: one type for a column of several files, chosen so that no value changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

Kind = Callable[[pa.DataType], bool]

_TEXTS = (pa.string(), pa.large_string(), pa.string_view())


def _is_exact(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow) or pa.types.is_decimal(arrow))


def _is_local_time(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(arrow) and arrow.tz is None)


# An integer converted to a float could change its value, or at least its text.
_KINDS: Sequence[Kind] = (
    _is_exact,
    _is_local_time,
    pa.types.is_floating,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_nested,
)


def plain_type(arrow: pa.DataType) -> pa.DataType:
    """The type without storage details: dictionary encoding is dropped, and all kinds of text are one."""
    if pa.types.is_dictionary(arrow):
        return plain_type(arrow.value_type)
    return pa.string() if arrow in _TEXTS else arrow


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both types unchanged, or None."""
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if _are_moments(first, second):
        first, second = (pa.timestamp(one.unit, "UTC") for one in (first, second))
    elif not any(kind(first) and kind(second) for kind in _KINDS):
        return None
    if pa.uint64() in {first, second} and all(map(pa.types.is_integer, (first, second))):
        return pa.decimal128(20, 0)  # Arrow would choose the signed type, which cannot hold all values
    try:
        schemas = [pa.schema([pa.field("", one)]) for one in (first, second)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _are_moments(*types: pa.DataType) -> bool:
    return all(pa.types.is_timestamp(arrow) and arrow.tz is not None for arrow in types)
