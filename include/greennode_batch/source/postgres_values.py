"""PostgreSQL's values, exact: which of them Python cannot hold, and the Arrow types of a query's columns.

The drivers change some values without an error: psycopg2 makes `infinity` the year 9999, both make a month 30 days and
24 hours a day, and JSON loses digits. Such values are noted here, or come as PostgreSQL writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa

from greennode_batch.source.exact_json import read_json

IN_UTC = (
    "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true), "
    "set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true)"
)
"""What makes the rest of a transaction write times in UTC, and everything as the drivers read it."""

_BOOL, _BYTEA, _NUMERIC, _INTERVAL = 16, 17, 1700, 1186
_DATE, _TIME, _TIMESTAMP, _TIMESTAMPTZ, _TIMETZ = 1082, 1083, 1114, 1184, 1266
_TIMES = (_DATE, _TIME, _TIMESTAMP, _TIMESTAMPTZ, _TIMETZ, _INTERVAL)
# Ranges and multiranges, vectors of numbers, and rows without a name.
_AS_TEXT = (3904, 3906, 3908, 3910, 3912, 3926, 4451, 4532, 4533, 4534, 4535, 4536, 22, 30, 2249)
_TEXT_ARRAYS = (3905, 3907, 3909, 3911, 3913, 3927, 6150, 6151, 6152, 6153, 6155, 6157, 1006, 1013, 2287)
_ARRAYS = {_DATE: 1182, _TIME: 1183, _TIMESTAMP: 1115, _TIMESTAMPTZ: 1185, _TIMETZ: 1270, _INTERVAL: 1187}
_CLOCKS = (_TIME, _TIMETZ)
# psycopg2 takes the end of a day for its begin.
_MIDNIGHT = "24:"
_INFINITE = ("infinity", "-infinity")
_MAX_DIGITS, _DECIMAL128_DIGITS = 76, 38

_TYPES: Mapping[int, pa.DataType] = {
    _BOOL: pa.bool_(),
    **dict.fromkeys((20, 21, 23, 26), pa.int64()),
    **dict.fromkeys((700, 701), pa.float64()),
    _DATE: pa.date32(),
    _TIME: pa.time64("us"),
    _TIMESTAMP: pa.timestamp("us"),
    _TIMESTAMPTZ: pa.timestamp("us", "UTC"),
}


class Inexact(str):
    """The text of a value that Python cannot hold."""

    __slots__ = ()


def note_inexact(cursor: Any, noted: list[Inexact]) -> None:
    """Make a cursor of psycopg or psycopg2 give an Inexact, and note it, for each value that it would change."""

    def note(text: str) -> Inexact:
        noted.append(Inexact(text))
        return noted[-1]

    (_note_2 if type(cursor).__module__.startswith("psycopg2") else _note_3)(cursor, note)


def _note_3(cursor: Any, note: Callable[[str], Inexact]) -> None:
    from psycopg import DataError, NotSupportedError  # noqa: PLC0415 - only where the driver is installed
    from psycopg.adapt import Loader  # noqa: PLC0415
    from psycopg.pq import Format  # noqa: PLC0415
    from psycopg.types.json import set_json_loads  # noqa: PLC0415
    from psycopg.types.string import TextLoader  # noqa: PLC0415

    def guarded(base: Any) -> type[Loader]:
        class Guarded(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._load = base(oid, context).load

            def load(self, data: Any) -> Any:
                text = bytes(data).decode()
                try:
                    value = self._load(data)
                except (DataError, NotSupportedError, OverflowError):
                    return note(text)
                return note(text) if self.oid == _INTERVAL and text != _interval_text(value) else value

        return Guarded

    for oid in _TIMES:
        cursor.adapters.register_loader(oid, guarded(cursor.adapters.get_loader(oid, Format.TEXT)))
    for oid in _AS_TEXT:
        cursor.adapters.register_loader(oid, TextLoader)
    set_json_loads(read_json, context=cursor)


def _note_2(cursor: Any, note: Callable[[str], Inexact]) -> None:
    from psycopg2 import Error, extensions, extras  # noqa: PLC0415 - only where the driver is installed

    bases = {
        _DATE: extensions.PYDATE,
        _TIME: extensions.PYTIME,
        _TIMETZ: extensions.PYTIME,
        _TIMESTAMP: extensions.PYDATETIME,
        _TIMESTAMPTZ: extensions.PYDATETIMETZ,
        _INTERVAL: extensions.PYINTERVAL,
    }

    def guarded(oid: int) -> Any:
        load = bases[oid]

        def read(text: str | None, cursor: Any) -> Any:
            if text is None:
                return None
            if text in _INFINITE or (text.startswith(_MIDNIGHT) and oid in _CLOCKS):
                return note(text)
            try:
                value = load(text, cursor)
            except (Error, ValueError, OverflowError):
                return note(text)
            return note(text) if oid == _INTERVAL and text != _interval_text(value) else value

        return read

    for oid, array in _ARRAYS.items():
        kind = extensions.new_type((oid,), f"GREENNODE_{oid}", guarded(oid))
        extensions.register_type(kind, cursor)
        extensions.register_type(extensions.new_array_type((array,), f"GREENNODE_{array}", kind), cursor)
    text = extensions.new_type(_AS_TEXT, "GREENNODE_TEXT", lambda value, _: value)
    extensions.register_type(text, cursor)
    extensions.register_type(extensions.new_array_type(_TEXT_ARRAYS, "GREENNODE_TEXTS", text), cursor)
    extras.register_default_json(conn_or_curs=cursor, loads=read_json)
    extras.register_default_jsonb(conn_or_curs=cursor, loads=read_json)


def _interval_text(value: timedelta) -> str:
    """What PostgreSQL writes for these days and this time of less than a day; Python knows no other intervals."""
    clock = value - timedelta(days=value.days)
    made = [f"{value.days} day{'' if value.days == 1 else 's'}"] if value.days else []
    if clock or not made:
        seconds, micros = clock.seconds, f"{clock.microseconds:06}".rstrip("0")
        text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{f'.{micros}' if micros else ''}"
        made.append(f"+{text}" if value.days < 0 else text)
    return " ".join(made)


def column_types(description: Sequence[Any]) -> dict[str, pa.DataType]:
    """The Arrow types of a query's columns, where the query alone decides them.

    Missing are columns of bytes, and those of `numeric` without digits, whose values decide.
    """
    found = {column[0]: _type_of(column) for column in description}
    return {name: arrow for name, arrow in found.items() if arrow is not None}


def _type_of(column: Any) -> pa.DataType | None:
    oid, precision, scale = column[1], column[4], column[5]
    if oid == _BYTEA:
        return None
    if oid != _NUMERIC:
        return _TYPES.get(oid, pa.string())
    if not precision or scale is None or not 0 <= scale <= precision <= _MAX_DIGITS:
        return None
    return (pa.decimal128 if precision <= _DECIMAL128_DIGITS else pa.decimal256)(precision, scale)


def inexact_in(value: Any) -> Inexact | None:
    """The first Inexact that a value is or has, if it is a list."""
    if isinstance(value, list | tuple):
        return next(filter(None, map(inexact_in, value)), None)
    return value if isinstance(value, Inexact) else None
