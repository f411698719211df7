"""Columns of SQL tables: their names, their types, and whether they take what a job writes."""

from __future__ import annotations

import enum
from typing import NamedTuple

import pyarrow as pa

from greennode_batch.errors import ConfigError


class Fit(enum.Enum):
    """Whether a column takes the values that a job writes."""

    ALWAYS = "always"
    DOUBTFUL = "doubtful"
    NEVER = "never"


class Column(NamedTuple):
    """A column of a table as it stands.

    is_demanded: every row that is inserted must name it. type: as the database writes it. kind: by what it is judged.
    """

    name: str
    is_demanded: bool
    type: str = ""
    kind: str = ""


def quote(identifier: str) -> str:
    """An SQL identifier, quoted."""
    if not identifier or "\x00" in identifier:
        raise ConfigError(f"{identifier!r} is not a name of a table or column")
    return '"' + identifier.replace('"', '""') + '"'


def sql_type(arrow: pa.DataType, *, decimal: str, large: str, zoned: str) -> str:
    """The SQL type for an Arrow type; text for what has no other."""
    kinds = (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_uint64, large),
        (pa.types.is_integer, "bigint"),
        (pa.types.is_floating, "double precision"),
        (pa.types.is_decimal, decimal),
        (pa.types.is_date, "date"),
        (pa.types.is_timestamp, zoned if getattr(arrow, "tz", None) else "timestamp"),
    )
    return next((name for is_kind, name in kinds if is_kind(arrow)), "text")
