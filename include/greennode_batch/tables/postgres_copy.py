"""COPY: Arrow tables into and out of PostgreSQL as CSV, by psycopg or psycopg2."""

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
# A row (a key with an id and a status) must fit into one block; about a dozen blocks are held.
READ_BYTES = 1 << 20
# An escaped NUL whose backslash is not itself escaped.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def copy_in(cursor: Any, table: str, rows: pa.Table) -> None:
    """Append rows to a table, whose name must be quoted already. Holds a few thousand more rows."""
    names = ", ".join(map(quote, rows.column_names))
    statement = f"COPY {table} ({names}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')"
    if isinstance(cursor, psycopg.Cursor):
        with cursor.copy(statement) as copy:
            for chunk in _csv(rows):
                copy.write(chunk)
        return
    with tempfile.TemporaryFile() as spool:  # psycopg2 reads from a file
        spool.writelines(_csv(rows))
        spool.seek(0)
        cursor.copy_expert(statement, spool)


def copy_out(
    cursor: Any, query: str, names: Sequence[str], *, parameters: Sequence[Any] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of a query with all columns as text, under these names, about a megabyte at a time.

    All rows are first spooled to disk. parameters: values for the query's `%s`; if given, the query must double every
    other `%`.
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
            # Everything except NULL is quoted, so an empty text differs from NULL.
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        with reader:
            for batch in reader:
                # What the caller makes of the rows is many times larger, so they go out in pieces.
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
    """Receive COPY data directly from libpq, in a third of the time of psycopg's row-by-row `copy`."""
    server = connection.pgconn
    results = [server.exec_(statement.encode(connection.info.encoding))]
    if results[0].status == ExecStatus.COPY_OUT:
        while (received := server.get_copy_data(0))[0] > 0:
            spool.write(received[1])
        # Read all results; otherwise the connection is not ready for the next statement.
        results = list(iter(server.get_result, None))
    for result in results:
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)


def _csv(rows: pa.Table) -> Iterator[bytes]:
    """Yield the rows as CSV, a few thousand at a time."""
    # Every value is quoted and NULL is not: only so does CSV distinguish NULL from an empty text. PostgreSQL 17 and
    # older would also take an unquoted `\.` for the end of the data.
    options = pacsv.WriteOptions(include_header=False, quoting_style="all_valid")
    for batch in rows.to_batches(max_chunksize=_CHUNK_ROWS):
        sink = io.BytesIO()
        pacsv.write_csv(batch, sink, options)
        written = sink.getvalue()
        # A search in the bytes is cheaper than one in each column.
        if b"\x00" in written or b"\\u0000" in written:
            sink = io.BytesIO()
            pacsv.write_csv(_without_nul(pa.table(batch)), sink, options)
            written = sink.getvalue()
        yield written


def _without_nul(rows: pa.Table) -> pa.Table:
    """Replace U+0000, which a model may write, by U+FFFD: PostgreSQL's text and jsonb cannot store it."""
    for index, field in enumerate(rows.schema):
        if not pa.types.is_string(field.type):
            continue
        if is_json(field) and pc.any(pc.match_substring(rows[index], "\\u0000")).as_py():
            mended = [None if text is None else _ESCAPED_NUL.sub("\\1\ufffd", text) for text in rows[index].to_pylist()]
            rows = rows.set_column(index, field, pa.array(mended, field.type))
        if pc.any(pc.match_substring(rows[index], "\x00")).as_py():
            rows = rows.set_column(index, field, pc.replace_substring(rows[index], "\x00", "\ufffd"))
    return rows
