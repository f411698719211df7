"""Columns of SQL tables: their names, their types, and whether they accept what a job writes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import is_json
from greennode_batch.state.column_limit import ColumnLimit

WAY_OUT = "Name another table, or change this one and run this step again; nothing is paid twice"
"""How to go on if a table does not fit; the statement that changes it follows, after a colon."""

IDENTITY = "an identity column GENERATED ALWAYS"
GENERATED = "a generated column"
DOMAIN = "d"
"""The kind of a column whose type may have constraints of any sort."""


class Fit(enum.Enum):
    """Whether a column accepts the values that a job writes."""

    ALWAYS = "always"
    DOUBTFUL = "doubtful"
    NEVER = "never"


class Column(NamedTuple):
    """A column of an existing table."""

    name: str
    is_demanded: bool
    """Whether every inserted row must give it a value."""
    type: str = ""
    """The type, as the database writes it."""
    kind: str = ""
    """The kind of type, by which `fit` decides."""
    is_not_null: bool = False
    generated: str = ""
    """IDENTITY or GENERATED, if no statement may give it a value."""
    limit: ColumnLimit | None = None
    """Which values its type holds; None if nothing limits them, or if only the database knows."""

    @property
    def max_length(self) -> int | None:
        """How many characters a text may have; None if there is no limit."""
        return None if self.limit is None else self.limit.max_length


def limit_of(table: str, column: str, type_: str, bounds: Mapping[str, Any] | None) -> ColumnLimit | None:
    """What a column holds. bounds: the kind and the bounds of the limit; None if there is none."""
    if bounds is None:
        return None
    element = limit_of(table, column, type_, bounds.get("element"))
    return ColumnLimit(table, column, type_, **{**bounds, "element": element})


def quote(identifier: str) -> str:
    """Quote an SQL identifier."""
    if not identifier or "\x00" in identifier:
        raise ConfigError(
            f"{identifier!r} cannot be the name of a table or column; use a name that is not empty and has no NUL"
        )
    return '"' + identifier.replace('"', '""') + '"'


def kind_of(field: pa.Field) -> str:
    """The kind of a field's values. `large`: integers beyond signed 64 bits; `zoned`: times with a time zone."""
    arrow = field.type
    kinds = {
        "json": is_json(field),
        "boolean": pa.types.is_boolean(arrow),
        "large": pa.types.is_uint64(arrow),
        "bigint": pa.types.is_integer(arrow),
        "double precision": pa.types.is_floating(arrow),
        "decimal": pa.types.is_decimal(arrow),
        "date": pa.types.is_date(arrow),
        "zoned": pa.types.is_timestamp(arrow) and arrow.tz is not None,
        "timestamp": pa.types.is_timestamp(arrow),
        "text": pa.types.is_string(arrow),
    }
    return next((kind for kind, is_kind in kinds.items() if is_kind), "other")
