"""Rows of a source, batch by batch, with the names of their columns."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS, column_size
from greennode_batch.source.rows import Row, Rows

# How large rows are is known only when they are here.
_MAX_FETCHED = 500


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
