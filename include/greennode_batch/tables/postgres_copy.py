"""COPY: Arrow into PostgreSQL and out of it, as CSV, by psycopg or psycopg2."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from psycopg.pq import ExecStatus

from greennode_batch.source.column_types import is_json
from greennode_batch.tables.table_columns import quote

_CHUNK_ROWS = 5_000
# A row must fit into it, that is a key with an id and a status, and some dozen of them are held.
READ_BYTES = 1 << 20
# An escaped NUL, whose backslash is not itself escaped.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def copy_in(cursor: Any, table: str, rows: pa.Table) -> None:
    """Append the rows to a table, of which the name is quoted. Holds some thousand rows more."""
    names = ", ".join(map(quote, rows.column_names))
    statement = f"COPY {table} ({names}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')"
    if isinstance(cursor, psycopg.Cursor):
        with cursor.copy(statement) as copy:
            for chunk in _csv(rows):
                copy.write(chunk)
        return
    with tempfile.TemporaryFile() as spool:  # psycopg2 reads a file
        spool.writelines(_csv(rows))
        spool.seek(0)
        cursor.copy_expert(statement, spool)


def copy_out(
    cursor: Any, query: str, names: Sequence[str], *, parameters: Sequence[Any] | None = None
) -> Iterator[pa.Table]:
    """The rows of a query, all columns as text by these names, some megabytes at a time.

    They wait on disk to be asked for. parameters: where there are any, the query's `%s`, and each other `%` is doubled.
    """
    statement = f"COPY ({query}) TO STDOUT (FORMAT csv, FORCE_QUOTE *, ENCODING 'UTF8')"
    with tempfile.TemporaryFile() as spool:
        _receive(cursor, statement, parameters, spool)
        if not spool.tell():
            return
        spool.seek(0)
        reader = pacsv.open_csv(
            spool,
            read_options=pacsv.ReadOptions(column_names=names, block_size=READ_BYTES),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            # All but NULL is quoted, so an empty text is told from it.
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        with reader:
            for batch in reader:
                # Many times its size in what the rows become, so some of it at a time.
                for start in range(0, batch.num_rows, _CHUNK_ROWS):
                    yield pa.table(batch.slice(start, _CHUNK_ROWS))


def _receive(cursor: Any, statement: str, parameters: Sequence[Any] | None, spool: IO[bytes]) -> None:
    if isinstance(cursor, psycopg.Cursor):
        if parameters is not None:
            statement = psycopg.ClientCursor(cursor.connection).mogrify(statement, parameters)
        _receive_by_libpq(cursor.connection, statement, spool)
        return
    cursor.copy_expert(statement if parameters is None else cursor.mogrify(statement, parameters), spool)


def _receive_by_libpq(connection: psycopg.Connection[Any], statement: str, spool: IO[bytes]) -> None:
    """What psycopg's own `copy` does row by row, in a third of the time."""
    server = connection.pgconn
    results = [server.exec_(statement.encode(connection.info.encoding))]
    if results[0].status == ExecStatus.COPY_OUT:
        while (received := server.get_copy_data(0))[0] > 0:
            spool.write(received[1])
        # All of them, or the connection is not ready for what comes next.
        results = list(iter(server.get_result, None))
    for result in results:
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)


def _csv(rows: pa.Table) -> Iterator[bytes]:
    """The rows as CSV, some thousand at a time."""
    # Every value quoted, NULL left bare: the one way in which CSV tells NULL from an empty text. And PostgreSQL 17
    # and older would take a bare `\.` for the end of the data.
    options = pacsv.WriteOptions(include_header=False, quoting_style="all_valid")
    for batch in rows.to_batches(max_chunksize=_CHUNK_ROWS):
        sink = io.BytesIO()
        pacsv.write_csv(_without_nul(pa.table(batch)), sink, options)
        yield sink.getvalue()


def _without_nul(rows: pa.Table) -> pa.Table:
    """PostgreSQL's text and jsonb cannot hold U+0000, and a model may write it: it becomes U+FFFD."""
    for index, field in enumerate(rows.schema):
        if not pa.types.is_string(field.type):
            continue
        if is_json(field) and pc.any(pc.match_substring(rows[index], "\\u0000")).as_py():
            mended = [None if text is None else _ESCAPED_NUL.sub("\\1\ufffd", text) for text in rows[index].to_pylist()]
            rows = rows.set_column(index, field, pa.array(mended, field.type))
        if pc.any(pc.match_substring(rows[index], "\x00")).as_py():
            rows = rows.set_column(index, field, pc.replace_substring(rows[index], "\x00", "\ufffd"))
    return rows
