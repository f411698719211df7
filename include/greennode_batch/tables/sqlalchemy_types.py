"""Types of any database, by SQLAlchemy: of columns that are made, and of values that go into columns that are there."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.types import TypeEngine

from greennode_batch.source.column_types import is_json

_MAX_DIGITS = 38
_UNSIGNED_DIGITS = 20
# As long as a key may be in every database.
_KEY_LETTERS = 255
_MYSQL = ("mysql", "mariadb")
# They have no zones: a moment is kept in UTC.
_WITHOUT_ZONES = frozenset({*_MYSQL, "sqlite"})
_LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), *_MYSQL).with_variant(mssql.NVARCHAR(None), "mssql")
# By default these would keep whole seconds, or every third millisecond.
_TIME = (
    sa.DateTime()
    .with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    .with_variant(mssql.DATETIME2(6), "mssql")  # type: ignore[no-untyped-call]
    .with_variant(oracle.TIMESTAMP(), "oracle")
)
_MOMENT = (
    sa.DateTime(timezone=True)
    .with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    .with_variant(mssql.DATETIMEOFFSET(6), "mssql")  # type: ignore[no-untyped-call]
    .with_variant(oracle.TIMESTAMP(timezone=True), "oracle")
)


def generic_type(field: pa.Field, *, is_key: bool) -> TypeEngine[Any]:
    """The type of a column that is made for a field; text for what has no other, short enough for an index in a key."""
    arrow = field.type
    text = sa.String(_KEY_LETTERS).with_variant(mssql.NVARCHAR(_KEY_LETTERS), "mssql") if is_key else _LONG_TEXT
    kinds: tuple[tuple[bool, TypeEngine[Any]], ...] = (
        (pa.types.is_boolean(arrow), sa.Boolean()),
        (pa.types.is_uint64(arrow), sa.Numeric(_UNSIGNED_DIGITS, 0)),
        (pa.types.is_integer(arrow), sa.BigInteger()),
        (pa.types.is_floating(arrow), sa.Double()),
        (pa.types.is_date(arrow), sa.Date()),
        (pa.types.is_timestamp(arrow) and arrow.tz is None, _TIME),
        (pa.types.is_timestamp(arrow), _MOMENT),
    )
    if pa.types.is_decimal(arrow) and arrow.precision <= _MAX_DIGITS:
        return sa.Numeric(arrow.precision, arrow.scale)
    return next((kind for is_kind, kind in kinds if is_kind), text)


def column_values(rows: pa.Table, name: str, kind: TypeEngine[Any], dialect: str) -> Sequence[Any]:
    """A column's values as SQLAlchemy takes them for a column of this type."""
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
    if isinstance(kind, sa.JSON) and is_json(field):
        return json.loads
    if isinstance(kind, sa.Uuid):
        return uuid.UUID
    if pa.types.is_timestamp(field.type) and field.type.tz is not None and dialect in _WITHOUT_ZONES:
        return _without_zone
    return None


def _without_zone(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)
