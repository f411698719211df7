"""Types of PostgreSQL: which columns a job's values never fit, and which they may not fit.

Both are told before anything is paid. What a column takes of some values is never refused: it may get only such.
"""

from __future__ import annotations

import pyarrow as pa

from greennode_batch.source.column_types import is_json
from greennode_batch.tables.columns import Column, Fit, sql_type

_INTEGERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _INTEGERS | {"float4", "float8", "numeric", "money"}
_TIMES = frozenset({"date", "timestamp", "timestamptz", "time", "timetz"})
_SPECIAL = frozenset({"bool", "uuid", "json", "jsonb"})


def postgres_type(field: pa.Field) -> str:
    """The type of a column that is made for a field."""
    return "jsonb" if is_json(field) else sql_type(field.type, decimal="numeric", large="numeric", zoned="timestamptz")


def fit(field: pa.Field, column: Column) -> Fit:
    """How the texts that COPY sends for a field fit a column that is there.

    Domains, enumerations and types of extensions take what they take: only PostgreSQL can tell.
    """
    kind = column.kind
    if kind == "array":
        return Fit.DOUBTFUL if pa.types.is_string(field.type) else Fit.NEVER
    if kind in _never(field):
        return Fit.NEVER
    return Fit.DOUBTFUL if kind in _seldom(field) else Fit.ALWAYS


def _never(field: pa.Field) -> frozenset[str]:
    arrow = field.type
    if pa.types.is_boolean(arrow):
        return _NUMBERS | _TIMES | {"uuid"}
    if pa.types.is_date(arrow) or pa.types.is_timestamp(arrow):
        return _NUMBERS | _SPECIAL
    if pa.types.is_decimal(arrow) and arrow.scale > 0:
        return _INTEGERS | {"uuid", "bool"}
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow):
        return frozenset({"uuid"})
    return frozenset()


def _seldom(field: pa.Field) -> frozenset[str]:
    arrow = field.type
    if is_json(field):
        return _NUMBERS | _TIMES | {"bool", "uuid"}
    if pa.types.is_string(arrow):
        return _NUMBERS | _TIMES | _SPECIAL
    if pa.types.is_floating(arrow):
        return _INTEGERS | _TIMES | {"bool"}
    if pa.types.is_integer(arrow):
        return _TIMES | {"bool"}
    return frozenset()
