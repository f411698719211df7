"""Columns of SQL tables: their names, their types, and whether they take what a job writes."""

from __future__ import annotations

import enum
from typing import NamedTuple

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import is_json


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


def kind_of(field: pa.Field) -> str:
    """What a field's values are to a database. `large`: beyond 64 bits with a sign; `zoned`: a moment."""
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
