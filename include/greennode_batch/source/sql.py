"""SQL source: rows of a query, in batches."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS, column_size
from greennode_batch.source.postgres_values import IN_UTC, Inexact, column_types, inexact_in, note_inexact
from greennode_batch.source.rows import Row, Rows
from greennode_batch.source.sqlite_types import sqlite_types

# What sets the time zone of a session, by the driver's module.
_IN_UTC = {
    "duckdb": "SET TimeZone = 'UTC'",
    **dict.fromkeys(("pymysql", "MySQLdb", "mysql", "mariadb"), "SET time_zone = '+00:00'"),
}
# The size of a row is known only after it is fetched.
_MAX_FETCHED = 500


def read_sql(
    connection: Any,
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    key: Sequence[str] = (),
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
) -> Rows:
    """Run a query on a DB-API connection and return its rows in batches.

    parameters: values that the driver binds. Without parameters, the driver does not interpret `%` in the query.
    key: the columns that identify a row in an error.
    max_rows, max_bytes: the size of a batch at most; bytes are approximate.

    The query runs during this call, so an invalid query raises ConfigError here; the rows are fetched on demand. With
    psycopg, a server-side cursor keeps the result on the server; other drivers decide for themselves. Times are in
    UTC. A value that Python cannot hold raises ConfigError with its column and key. A lost connection raises the
    driver's own error.
    """
    server_side = is_postgres(connection)
    if server_side and getattr(connection, "autocommit", False):
        connection.autocommit = False  # a server-side cursor needs a transaction
    cursor = connection.cursor(name=f"greennode_{uuid.uuid4().hex}") if server_side else connection.cursor()
    noted: list[Inexact] = []
    types = {} if server_side else sqlite_types(connection, sql)
    with _query_errors():
        _use_utc(connection, cursor)
        if server_side:
            note_inexact(cursor, noted)
        cursor.execute(sql, *([dict(parameters)] if parameters else []))
        # psycopg2 knows the columns of a server-side cursor only after the first fetch.
        first = cursor.fetchmany(1) if server_side or cursor.description else []
    if cursor.description is None:
        connection.rollback()
        raise ConfigError(
            f"the source query returns no rows: it must be a SELECT. Nothing was sent. The query: {sql[:200]}"
        )
    columns = tuple(column[0] for column in cursor.description)

    def batches() -> Iterator[Sequence[Row]]:
        try:
            for rows in _batches(cursor, first, max_rows, max_bytes):
                if noted:
                    _refuse_inexact(rows, columns, key)
                yield rows
        finally:
            cursor.close()

    if server_side:
        return Rows.from_tuples(columns, batches(), types=column_types(cursor.description))
    return Rows.from_tuples(columns, batches(), types_of_nulls=types)


def _use_utc(connection: Any, cursor: Any) -> None:
    """Let the database write times in UTC, whatever the zone of the session is."""
    if is_postgres(connection):
        with connection.cursor() as other:
            other.execute(IN_UTC)
        return
    statement = _IN_UTC.get(type(connection).__module__.partition(".")[0].strip("_"))
    if statement is not None:
        cursor.execute(statement)


def _refuse_inexact(rows: Sequence[Row], columns: Sequence[str], key: Sequence[str]) -> None:
    """Raise ConfigError for a value that Python cannot hold."""
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            text = inexact_in(value)
            if text is not None:
                named = [(one, row[columns.index(one)]) for one in key or columns[:1] if one in columns]
                where = ", ".join(f"{one}={shown!r}" for one, shown in named)
                raise ConfigError(
                    f"the source query: column {name}, row {where}: Python has no exact value for {text}; cast the "
                    f"column to text in the query, CAST({name} AS text), or give another value. Nothing was sent"
                )


def is_postgres(connection: Any) -> bool:
    """Whether a DB-API connection uses a PostgreSQL driver."""
    return type(connection).__module__.partition(".")[0] in {"psycopg", "psycopg2"}


def _batches(cursor: Any, first: Sequence[Any], max_rows: int, max_bytes: int) -> Iterator[Sequence[Row]]:
    """Fetch a cursor's rows in small steps; the larger the rows, the smaller the step."""
    held: list[Row] = []
    size = 0
    fetched = first
    while fetched:
        # Some connections return rows as dicts.
        rows = [tuple(row.values()) for row in fetched] if isinstance(fetched[0], Mapping) else fetched
        new = sum(map(column_size, zip(*rows, strict=True)))
        if held and size + new > max_bytes:
            yield held
            held, size = [], 0
        held += rows
        size += new
        if len(held) >= max_rows or size >= max_bytes:
            yield held
            held, size = [], 0
        requested = max(1, min(4 * len(rows), _MAX_FETCHED, max_bytes * len(rows) // max(new, 1), max_rows - len(held)))
        with _query_errors():
            fetched = cursor.fetchmany(requested)
    if held:
        yield held


@contextmanager
def _query_errors() -> Iterator[None]:
    """Turn errors in the query itself into ConfigError; a lost connection raises the driver's own error.

    Works with any driver, because PEP 249 fixes the names of the error classes.
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
