"""Column types of PostgreSQL: which ones never accept a job's values, and which ones may not.

Both are reported before anything is paid. A column that accepts only some values is not refused, because the run may
have only such values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.state.column_limit import Kind
from greennode_batch.tables.key_values import INDEX_BYTES, ZONED, KeyValues
from greennode_batch.tables.table_columns import Column, Fit, kind_of

_MADE = {"json": "jsonb", "large": "numeric", "decimal": "numeric", "zoned": "timestamptz", "other": "text"}
_INTEGERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _INTEGERS | {"float4", "float8", "numeric", "money"}
_TIMES = frozenset({"date", "timestamp", "timestamptz", "time", "timetz"})
_RANGES = frozenset({"r", "m"})
_SPECIAL = frozenset({"bool", "uuid", "json", "jsonb"})
_NEVER = {
    "boolean": _NUMBERS | _TIMES | _RANGES | {"uuid", "interval"},
    **dict.fromkeys(("date", "timestamp", "zoned"), _NUMBERS | _SPECIAL | _RANGES | {"interval"}),
    **dict.fromkeys(("large", "bigint", "double precision"), _RANGES | {"uuid"}),
    "decimal": _INTEGERS | _RANGES | {"uuid", "bool"},
}
_SELDOM = {
    "json": _NUMBERS | _TIMES | _RANGES | {"bool", "uuid", "interval"},
    "text": _NUMBERS | _TIMES | _SPECIAL | _RANGES | {"interval", "bytea"},
    "double precision": _INTEGERS | _TIMES | {"bool"},
    **dict.fromkeys(("large", "bigint"), _TIMES | {"bool"}),
}


def postgres_type(field: pa.Field) -> str:
    """The type of a new column for a field."""
    kind = kind_of(field)
    return _MADE.get(kind, kind)


_INTEGER_BYTES = {"int2": 2, "int4": 4, "int8": 8}
_KINDS: dict[str, Kind] = {
    "float4": "real", "float8": "double", "bool": "boolean", "date": "date", "time": "time", "timestamp": "timestamp",
    "timestamptz": "zoned", "uuid": "uuid", "json": "json", "jsonb": "jsonb", "inet": "inet", "cidr": "cidr",
    "money": "money", "bytea": "bytes",
}  # fmt: skip
_MODIFIER_HEADER = 4
# What bounds a range of a type of PostgreSQL's own.
_BOUNDS = {
    "int4range": "int4", "int8range": "int8", "numrange": "numeric", "daterange": "date", "tsrange": "timestamp",
    "tstzrange": "timestamptz",
}  # fmt: skip
_NO_DIGITS = 0xFFFF
# The least unit among an interval's fields, by its bit: the smaller parts of a value are cut off.
_UNITS = {1 << 11: -1, 1 << 10: -2, 1 << 3: -3, 1 << 1: -4, 1 << 2: -5}
_SECONDS = 1 << 12


def bounds_of(base: str, modifier: int, labels: Sequence[str], item: str | None = None) -> dict[str, Any] | None:
    """The kind and the bounds of a ColumnLimit; None if nothing limits the type, or only PostgreSQL knows its values.

    base: the name of the type behind all domains. modifier: of that type, -1 for none. labels: of an enumeration, also
    as the items of an array. item: the type of an array's items.
    """
    packed = modifier - _MODIFIER_HEADER
    made: dict[str, Any] | None = None
    if item is not None:
        made = {"kind": "array", "element": bounds_of(item, modifier, labels)}
    elif base in _BOUNDS:
        made = {"kind": "range", "element": bounds_of(_BOUNDS[base], -1, ())}
    elif base.endswith("multirange") and (one := base.replace("multi", "")) in _BOUNDS:
        made = {"kind": "multirange", "element": bounds_of(_BOUNDS[one], -1, ())}
    elif base == "interval":
        made = {"kind": "interval", "scale": None if modifier < 0 else _interval_scale(modifier)}
    elif labels:
        made = {"kind": "words", "words": tuple(labels)}
    elif base in _INTEGERS:
        most = 1 << (8 * _INTEGER_BYTES[base] - 1)
        made = {"kind": "integer", "least": -most, "greatest": most - 1}
    elif base in {"varchar", "bpchar"} and packed > 0:
        made = {"kind": "text", "max_length": packed}
    elif base == "numeric":
        # The scale is a signed number of 11 bits.
        bounds = {"digits": packed >> 16 & 0xFFFF, "scale": ((packed & 0x7FF) ^ 0x400) - 0x400}
        made = {"kind": "numeric", **(bounds if modifier >= 0 else {})}
    elif base in _KINDS:
        has_scale = base.startswith("time") and modifier >= 0
        made = {"kind": _KINDS[base], **({"scale": modifier} if has_scale else {})}
    return made


def _interval_scale(modifier: int) -> int | None:
    """As a ColumnLimit has it."""
    fields, digits = modifier >> 16, modifier & 0xFFFF
    if fields & _SECONDS:
        return None if digits == _NO_DIGITS else digits
    return next(scale for bit, scale in _UNITS.items() if fields & bit)


# By the type as PostgreSQL writes it, which has a precision or scale if the column rounds.
_KEPT = {
    "bool": {"boolean"},
    "UUID": {"uuid", "text"},
    "date": {"date"},
    "Decimal": {"numeric"},
    "datetime": {"timestamp without time zone"},
    ZONED: {"timestamp with time zone"},
}


def keeps_apart(column: Column | None, values: KeyValues, key_columns: int) -> bool:
    """Whether a key column surely holds each of these values as it is; see Dialect."""
    kinds = values.kinds
    if kinds == {"int"}:
        if column is None or column.type in {"numeric", "text"}:
            return True
        most = 1 << (8 * _INTEGER_BYTES.get(column.kind, 0) - 1) if column.kind in _INTEGER_BYTES else 0
        return -most <= values.least and values.greatest < most
    if kinds == {"str"}:
        is_text = column is None or column.kind in {"text", "varchar"}
        is_short = column is None or column.max_length is None or values.longest <= column.max_length
        return is_text and is_short and values.most_bytes * key_columns <= INDEX_BYTES
    if ZONED in kinds:
        kinds = kinds - {"datetime"}
    if kinds == {"int", "Decimal"}:
        kinds = {"Decimal"}
    return not kinds or (len(kinds) == 1 and all(_is_kept(kind, column) for kind in kinds))


def _is_kept(kind: str, column: Column | None) -> bool:
    return kind in _KEPT and (column is None or column.type in _KEPT[kind])


def fit(field: pa.Field, column: Column) -> Fit:
    """Whether an existing column accepts the texts that COPY sends for a field.

    Domains, enumerations and extension types count as fitting: only PostgreSQL knows which values they accept.
    """
    kind = kind_of(field)
    if column.kind == "array":
        return Fit.DOUBTFUL if pa.types.is_string(field.type) else Fit.NEVER
    if column.kind == "money" and column.limit is None:
        return Fit.NEVER  # the database's locale would read 1.50 as another amount
    if column.kind in _NEVER.get(kind, ()) and not (kind == "decimal" and field.type.scale <= 0):
        return Fit.NEVER
    return Fit.DOUBTFUL if column.kind in _SELDOM.get(kind, ()) else Fit.ALWAYS
