"""Rows of a source, batch by batch, with the names of their columns."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import is_plain, to_arrow
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS

Row = tuple[Any, ...]

# How large rows are is known only when they are here.
_MAX_FETCHED = 500


class RowBatch(Protocol):
    """Some thousand rows of a source, column by column."""

    def __len__(self) -> int:
        """How many rows."""

    def values(self, column: str) -> Sequence[Any]:
        """A column as prompts see it: a JSON document is a dict."""

    def array(self, column: str) -> pa.Array:
        """A column as staging keeps it. Raises ConfigError for what it cannot keep."""

    def take(self, places: Sequence[int]) -> RowBatch:
        """Some of the rows, by their places."""


@dataclass(frozen=True)
class Rows:
    """Columns by name, and batches of rows, of which one is held at a time. The batches can be read once.

    origin: where these are a part of the rows, what all parts are of: tells whether they were divided alike.
    """

    columns: tuple[str, ...]
    batches: Iterator[RowBatch]
    origin: str = ""

    @classmethod
    def from_tuples(cls, columns: Sequence[str], batches: Iterable[Sequence[Row]]) -> Rows:
        """Rows that come as tuples, as databases give them."""
        names = check_columns(tuple(columns))
        return cls(names, (_by_columns(names, rows) for rows in batches if rows))


def first_rows(rows: Rows, count: int | None) -> Rows:
    """The first `count` rows, or all for None. No batch after the last of them is asked for."""
    if count is None:
        return rows

    def batches() -> Iterator[RowBatch]:
        left = count
        for batch in rows.batches:
            yield batch if len(batch) <= left else batch.take(range(left))
            left -= len(batch)
            if left <= 0:
                return

    return replace(rows, batches=batches())


class ColumnBatch:
    """A batch of rows as columns: Arrow's arrays, or values as prompts see them."""

    def __init__(self, rows: int, columns: Mapping[str, pa.Array | Sequence[Any]]) -> None:
        self._rows = rows
        self._columns = dict(columns)
        self._values: dict[str, Sequence[Any]] = {}

    def __len__(self) -> int:
        return self._rows

    def values(self, column: str) -> Sequence[Any]:
        """A column as prompts see it."""
        held = self._columns[column]
        if not isinstance(held, pa.Array):
            return held
        if column not in self._values:
            self._values[column] = json_values(held, column) if isinstance(held.type, pa.JsonType) else held.to_pylist()
        return self._values[column]

    def array(self, column: str) -> pa.Array:
        """A column as staging keeps it."""
        held = self._columns[column]
        if isinstance(held, pa.Array):
            plain = held.storage if isinstance(held.type, pa.JsonType) else held
            if is_plain(plain.type):
                return plain
        return to_arrow(self.values(column), column)

    def take(self, places: Sequence[int]) -> RowBatch:
        """Some of the rows, by their places."""
        chosen = pa.array(places, pa.int64())
        return ColumnBatch(
            len(places),
            {
                name: held.take(chosen) if isinstance(held, pa.Array) else [held[place] for place in places]
                for name, held in self._columns.items()
            },
        )


def _by_columns(names: Sequence[str], rows: Sequence[Row]) -> ColumnBatch:
    return ColumnBatch(len(rows), dict(zip(names, zip(*rows, strict=True), strict=True)))


def read_sql(
    connection: Any,
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
) -> Rows:
    """Rows of a query on a DB-API connection, in batches of at most so many rows, and about so many bytes.

    parameters: bound by the driver, which takes `%` for its own mark only where there are any.
    With psycopg a server-side cursor holds the result on the server; elsewhere the driver decides. The query
    runs at once, so that a wrong one fails here (ConfigError); its rows come as they are asked for. A lost connection
    stays the driver's own error.
    """
    server_side = is_postgres(connection)
    if server_side and getattr(connection, "autocommit", False):
        connection.autocommit = False  # a server-side cursor lives in a transaction
    cursor = connection.cursor(name=f"greennode_{uuid.uuid4().hex}") if server_side else connection.cursor()
    with _query_errors():
        cursor.execute(sql, *([dict(parameters)] if parameters else []))
        # psycopg2 knows a server-side cursor's columns only once rows were asked for.
        first = cursor.fetchmany(1) if server_side or cursor.description else []
    if cursor.description is None:
        connection.rollback()
        raise ConfigError(f"the source query gives no table: it must be a SELECT. Nothing was sent. It is: {sql[:200]}")
    columns = tuple(column[0] for column in cursor.description)

    def batches() -> Iterator[Sequence[Row]]:
        try:
            yield from _batches(cursor, first, max_rows, max_bytes)
        finally:
            cursor.close()

    return Rows.from_tuples(columns, batches())


def is_postgres(connection: Any) -> bool:
    """Whether a DB-API connection is one of PostgreSQL's drivers."""
    return type(connection).__module__.partition(".")[0] in {"psycopg", "psycopg2"}


def _batches(cursor: Any, first: Sequence[Any], max_rows: int, max_bytes: int) -> Iterator[Sequence[Row]]:
    """What a cursor gives. Few rows are asked for at a time, and fewer where they are large."""
    held: list[Row] = []
    size = 0
    fetched = first
    while fetched:
        # Some connections give rows as dicts.
        rows = [tuple(row.values()) for row in fetched] if isinstance(fetched[0], Mapping) else fetched
        new = sum(map(_column_size, zip(*rows, strict=True)))
        if held and size + new > max_bytes:
            yield held
            held, size = [], 0
        held += rows
        size += new
        if len(held) >= max_rows or size >= max_bytes:
            yield held
            held, size = [], 0
        asked = max(1, min(4 * len(rows), _MAX_FETCHED, max_bytes * len(rows) // max(new, 1), max_rows - len(held)))
        with _query_errors():
            fetched = cursor.fetchmany(asked)
    if held:
        yield held


def _column_size(values: Sequence[Any]) -> int:
    """About how many bytes they take."""
    kinds = set(map(type, values))
    if kinds <= _SMALL_KINDS:
        return 8 * len(values)
    return sum(map(len if kinds == {str} else _size, values))


_SMALL_KINDS = {int, float, bool, type(None), datetime.date, datetime.datetime, uuid.UUID}


def _size(value: Any) -> int:
    """About how many bytes a value takes that is of the kinds that may be large."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, memoryview):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_size, value.values())) + 8 * len(value)
    if isinstance(value, list):
        return sum(map(_size, value)) + 8 * len(value)
    return 8


@contextmanager
def _query_errors() -> Iterator[None]:
    """What is wrong with the query itself as a ConfigError; a lost connection stays the driver's own error.

    Of any driver: PEP 249 gives the classes of errors their names.
    """
    try:
        yield
    except Exception as error:
        names = {kind.__name__ for kind in type(error).__mro__}
        if "Error" not in names or _may_pass(error, names):
            raise
        raise ConfigError(
            f"the source query failed: {' '.join(str(error).split())}. It must be one SELECT. Nothing was sent"
        ) from error


def _may_pass(error: Exception, names: Collection[str]) -> bool:
    code = getattr(error, "sqlite_errorname", None)
    if code is not None:  # SQLite calls a missing table an OperationalError
        return str(code).startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR"))
    return not {"OperationalError", "InterfaceError"}.isdisjoint(names)


def check_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns, if each name is there once; else ConfigError."""
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ConfigError(f"the source has the column(s) {', '.join(twice)} twice; give each its own name (AS …)")
    return columns


def json_values(documents: pa.Array, column: str) -> list[Any]:
    """A column of JSON texts as what they say. Raises ConfigError for a text that is no JSON."""
    try:
        return [None if text is None else msgspec.json.decode(text) for text in documents.storage.to_pylist()]
    except msgspec.DecodeError as error:
        raise ConfigError(f"column {column} holds a text that is no JSON ({error}). Nothing was sent") from None
