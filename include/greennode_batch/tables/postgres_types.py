"""Types of PostgreSQL: which columns a job's values never fit, and which they may not fit.

Both are told before anything is paid. What a column takes of some values is never refused: it may get only such.
"""

from __future__ import annotations

import pyarrow as pa

from greennode_batch.tables.table_columns import Column, Fit, kind_of

_MADE = {"json": "jsonb", "large": "numeric", "decimal": "numeric", "zoned": "timestamptz", "other": "text"}
_INTEGERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _INTEGERS | {"float4", "float8", "numeric", "money"}
_TIMES = frozenset({"date", "timestamp", "timestamptz", "time", "timetz"})
_SPECIAL = frozenset({"bool", "uuid", "json", "jsonb"})
_NEVER = {
    "boolean": _NUMBERS | _TIMES | {"uuid"},
    **dict.fromkeys(("date", "timestamp", "zoned"), _NUMBERS | _SPECIAL),
    **dict.fromkeys(("large", "bigint", "double precision"), frozenset({"uuid"})),
    "decimal": _INTEGERS | {"uuid", "bool"},
}
_SELDOM = {
    "json": _NUMBERS | _TIMES | {"bool", "uuid"},
    "text": _NUMBERS | _TIMES | _SPECIAL,
    "double precision": _INTEGERS | _TIMES | {"bool"},
    **dict.fromkeys(("large", "bigint"), _TIMES | {"bool"}),
}


def postgres_type(field: pa.Field) -> str:
    """The type of a column that is made for a field."""
    kind = kind_of(field)
    return _MADE.get(kind, kind)


def fit(field: pa.Field, column: Column) -> Fit:
    """How the texts that COPY sends for a field fit a column that is there.

    Domains, enumerations and types of extensions take what they take: only PostgreSQL can tell.
    """
    kind = kind_of(field)
    if column.kind == "array":
        return Fit.DOUBTFUL if pa.types.is_string(field.type) else Fit.NEVER
    if column.kind in _NEVER.get(kind, ()) and not (kind == "decimal" and field.type.scale <= 0):
        return Fit.NEVER
    return Fit.DOUBTFUL if column.kind in _SELDOM.get(kind, ()) else Fit.ALWAYS
