"""Column types of PostgreSQL: which ones never accept a job's values, and which ones may not.

Both are reported before anything is paid. A column that accepts only some values is not refused, because the run may
have only such values.
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
    """The type of a new column for a field."""
    kind = kind_of(field)
    return _MADE.get(kind, kind)


def fit(field: pa.Field, column: Column) -> Fit:
    """Whether an existing column accepts the texts that COPY sends for a field.

    Domains, enumerations and extension types count as fitting: only PostgreSQL knows which values they accept.
    """
    kind = kind_of(field)
    if column.kind == "array":
        return Fit.DOUBTFUL if pa.types.is_string(field.type) else Fit.NEVER
    if column.kind in _NEVER.get(kind, ()) and not (kind == "decimal" and field.type.scale <= 0):
        return Fit.NEVER
    return Fit.DOUBTFUL if column.kind in _SELDOM.get(kind, ()) else Fit.ALWAYS
