"""SQLAlchemy types: the types of new columns in any database, and values for existing columns."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.types import TypeEngine

from greennode_batch.source.postgres_texts import array_values
from greennode_batch.tables.table_columns import kind_of

_MAX_DIGITS = 38
_UNSIGNED_DIGITS = 20
# The longest key that every database allows.
_KEY_LETTERS = 255
MYSQL = ("mysql", "mariadb")
_SINGLE_REALS = ("postgresql", "mssql")
_MAX_BIGINT = (1 << 63) - 1
# The narrower types first, because most of them are kinds of Integer.
_INTEGER_BITS: dict[type[TypeEngine[Any]], int] = {
    mysql.TINYINT: 8, mssql.TINYINT: 8, sa.SmallInteger: 16, mysql.MEDIUMINT: 24, sa.BigInteger: 64, sa.Integer: 32,
}  # fmt: skip
_SIMPLE: dict[type[TypeEngine[Any]], str] = {
    sa.Float: "double", sa.Boolean: "boolean", sa.Date: "date", sa.Time: "time", sa.Uuid: "uuid",
}  # fmt: skip
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "on", "1"}), frozenset({"false", "f", "no", "n", "off", "0"})
# These have no time zones: moments are stored in UTC.
_WITHOUT_ZONES = frozenset({*MYSQL, "sqlite"})
_LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), *MYSQL).with_variant(mssql.NVARCHAR(None), "mssql")
_KEY_TEXT = sa.String(_KEY_LETTERS).with_variant(mssql.NVARCHAR(_KEY_LETTERS), "mssql")


def _time(mssql_type: TypeEngine[Any], *, zoned: bool) -> TypeEngine[Any]:
    # By default these databases would store whole seconds, or every third millisecond.
    kind = sa.DateTime(timezone=zoned).with_variant(mysql.DATETIME(fsp=6), *MYSQL)
    return kind.with_variant(mssql_type, "mssql").with_variant(oracle.TIMESTAMP(timezone=zoned), "oracle")


_TYPES: dict[str, TypeEngine[Any]] = {
    "boolean": sa.Boolean(),
    "large": sa.Numeric(_UNSIGNED_DIGITS, 0),
    "bigint": sa.BigInteger(),
    "double precision": sa.Double(),
    "date": sa.Date(),
    "timestamp": _time(mssql.DATETIME2(6), zoned=False),  # type: ignore[no-untyped-call]
    "zoned": _time(mssql.DATETIMEOFFSET(6), zoned=True),  # type: ignore[no-untyped-call]
}


def generic_type(field: pa.Field, *, is_key: bool) -> TypeEngine[Any]:
    """The type of a new column for a field. A field without a matching type becomes text, short in a key."""
    kind = kind_of(field)
    if kind == "decimal" and field.type.precision <= _MAX_DIGITS:
        return sa.Numeric(field.type.precision, field.type.scale)
    return _TYPES.get(kind, _KEY_TEXT if is_key else _LONG_TEXT)


def generic_bounds(kind: TypeEngine[Any], dialect: str) -> dict[str, Any] | None:
    """The kind and the bounds of a ColumnLimit; None if reflection shows none."""
    if dialect == "sqlite":
        return None  # it stores a value of any length and kind
    if isinstance(kind, sa.ARRAY):
        return {"kind": "array", "element": generic_bounds(kind.item_type, dialect)}
    bits = next((size for one, size in _INTEGER_BITS.items() if isinstance(kind, one)), 0)
    return _bounds_of_integer(kind, bits) if bits else _bounds_of_other(kind, dialect)


def _bounds_of_integer(kind: TypeEngine[Any], bits: int) -> dict[str, Any]:
    if getattr(kind, "unsigned", False) or isinstance(kind, mssql.TINYINT):
        return {"kind": "integer", "least": 0, "greatest": min((1 << bits) - 1, _MAX_BIGINT)}
    return {"kind": "integer", "least": -(1 << (bits - 1)), "greatest": (1 << (bits - 1)) - 1}


def _bounds_of_other(kind: TypeEngine[Any], dialect: str) -> dict[str, Any] | None:
    made: dict[str, Any] | None = None
    if isinstance(kind, sa.Enum):
        made = {"kind": "words", "words": tuple(kind.enums)} if kind.enums else None
    elif isinstance(kind, mysql.SET):
        pass  # several of its words in one text
    elif isinstance(kind, sa.String):
        made = {"kind": "text", "max_length": kind.length} if kind.length is not None else None
    elif isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float):
        made = {"kind": "numeric", "digits": kind.precision, "scale": kind.scale or 0} if kind.precision else None
    elif isinstance(kind, mysql.FLOAT) or (isinstance(kind, sa.REAL) and dialect in _SINGLE_REALS):
        made = {"kind": "real"}
    elif isinstance(kind, sa.DateTime):
        made = {"kind": "zoned" if kind.timezone or dialect in _WITHOUT_ZONES else "timestamp"}
    elif simple := next((word for one, word in _SIMPLE.items() if isinstance(kind, one)), None):
        made = {"kind": simple}
    return made


def column_values(rows: pa.Table, name: str, kind: TypeEngine[Any], dialect: str) -> Sequence[Any]:
    """Convert a column's values to what SQLAlchemy accepts for a column of this type."""
    field = rows.schema.field(name)
    column = rows[name]
    if pa.types.is_time(field.type) or (pa.types.is_decimal(field.type) and field.type.precision > _MAX_DIGITS):
        column = column.cast(pa.string())
    if pa.types.is_timestamp(field.type):
        # Python has no nanoseconds.
        column = column.cast(pa.timestamp("us", tz=field.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    change = _change(field, kind, dialect)
    return values if change is None else [None if value is None else change(value) for value in values]


def _change(field: pa.Field, kind: TypeEngine[Any], dialect: str) -> Callable[[Any], Any] | None:
    if pa.types.is_string(field.type):
        return _change_of_text(kind, dialect)
    if pa.types.is_timestamp(field.type) and field.type.tz is not None and dialect in _WITHOUT_ZONES:
        return _without_zone
    if pa.types.is_timestamp(field.type) and field.type.tz is None and getattr(kind, "timezone", False):
        return _in_utc
    return None


def _change_of_text(kind: TypeEngine[Any], dialect: str) -> Callable[[str], Any] | None:
    """How a text becomes what SQLAlchemy accepts; where it is none, the text goes to the database as it is."""
    made: Callable[[str], Any] | None = None
    if isinstance(kind, sa.LargeBinary | sa.BINARY | sa.VARBINARY):
        return str.encode
    if isinstance(kind, sa.ARRAY):
        return _list
    if isinstance(kind, sa.JSON):
        made = json.loads
    elif isinstance(kind, sa.Uuid):
        made = uuid.UUID
    elif isinstance(kind, sa.Boolean):
        made = _truth
    elif isinstance(kind, sa.Date):
        made = datetime.date.fromisoformat
    elif isinstance(kind, sa.Time):
        made = datetime.time.fromisoformat
    elif isinstance(kind, sa.DateTime):
        made = partial(_moment, keeps_zone=kind.timezone and dialect not in _WITHOUT_ZONES)
    return None if made is None else partial(_changed, made)


def _changed(change: Callable[[str], Any], text: str) -> Any:
    try:
        return change(text)
    except ValueError:
        return text


def _list(text: str) -> list[Any]:
    made = array_values(text)
    if made is None:
        # SQLAlchemy would take each letter for an item.
        raise sa.exc.StatementError("", None, None, ValueError("a list is wanted, and a text is none"))
    return made


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(text)
    return word in _TRUE


def _moment(text: str, *, keeps_zone: bool) -> datetime.datetime:
    time = datetime.datetime.fromisoformat(text)
    if keeps_zone:
        return time if time.tzinfo else _in_utc(time)
    return _without_zone(time) if time.tzinfo else time


def _in_utc(time: datetime.datetime) -> datetime.datetime:
    return time.replace(tzinfo=datetime.UTC)


def _without_zone(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)
