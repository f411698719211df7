"""PostgreSQL as a target: COPY into a temporary table, then one INSERT … ON CONFLICT."""

from __future__ import annotations

import io
import re
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from greennode_batch.collect.answers import is_json
from greennode_batch.errors import ConfigError
from greennode_batch.join.sql_table import Column, SqlTable, quote, sql_type

_MAX_NAME_BYTES = 63
_CHUNK_ROWS = 5_000
_PLACE = "greennode place"
# An escaped NUL, whose backslash is not itself escaped.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class PostgresTable(SqlTable):
    """A table of PostgreSQL, by psycopg or psycopg2."""

    mark = "%s"

    def __init__(self, connection: Any, table: str, key: Sequence[str]) -> None:
        super().__init__(connection, table, key)
        if connection.autocommit:
            connection.autocommit = False  # a shard is written in one transaction

    def check_names(self, names: Sequence[str]) -> None:
        """PostgreSQL cuts longer names off, and then there is no such column."""
        for name in names:
            if len(name.encode()) > _MAX_NAME_BYTES:
                raise ConfigError(
                    f"table {self.name}: the name {name!r} is longer than PostgreSQL's {_MAX_NAME_BYTES} bytes; "
                    "shorten it (AS … in the query, or in the answer model)"
                )

    def upsert(self, cursor: Any, rows: pa.Table) -> int:
        """Upsert the rows by key; how many were written."""
        columns = ", ".join(map(quote, rows.column_names))
        cursor.execute(
            f"CREATE TEMPORARY TABLE greennode_shard ON COMMIT DROP AS SELECT {columns} FROM {self.quoted} LIMIT 0"  # noqa: S608
        )
        _copy(cursor, f"COPY greennode_shard ({columns}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')", rows)
        # One order of locks for all workers: two shards can never wait for each other.
        cursor.execute(
            f"INSERT INTO {self.quoted} ({columns}) SELECT {columns} FROM greennode_shard "  # noqa: S608 - quoted
            f"ORDER BY {self.quoted_key} {self.upsert_tail(rows.column_names)}"
        )
        return int(cursor.rowcount)

    def reading_cursor(self) -> Any:
        """A cursor on the server, which sends rows as they are asked for."""
        return self._connection.cursor(name=f"greennode_{uuid.uuid4().hex}")

    def look_up(self, cursor: Any, keys: pa.Table) -> list[Sequence[Any]]:
        """The rows that have these keys, by way of a temporary table that has the target's own types."""
        names = list(map(quote, keys.column_names))
        place = quote(_PLACE)
        cursor.execute(
            f"CREATE TEMPORARY TABLE greennode_keys ON COMMIT DROP AS SELECT {', '.join(names)}, 0::bigint AS {place} "  # noqa: S608
            f"FROM {self.quoted} LIMIT 0"
        )
        numbered = keys.append_column(_PLACE, pa.array(range(keys.num_rows), pa.int64()))
        _copy(cursor, "COPY greennode_keys FROM STDIN (FORMAT csv, ENCODING 'UTF8')", numbered)
        cursor.execute(
            f"SELECT k.{place}, {', '.join(f't.{name}' for name in names)}, t.custom_id, t.status, t.run_id "  # noqa: S608
            f"FROM greennode_keys k JOIN {self.quoted} t ON {' AND '.join(f't.{name} = k.{name}' for name in names)}"
        )
        return list(cursor.fetchall())

    def type_of(self, field: pa.Field) -> str:
        """The column type for a field."""
        return (
            "jsonb" if is_json(field) else sql_type(field.type, decimal="numeric", large="numeric", zoned="timestamptz")
        )

    def columns(self, cursor: Any) -> list[Column]:
        """The table's columns, none if there is no such table."""
        cursor.execute(
            "SELECT attname, attnotnull AND NOT atthasdef AND attidentity = '' FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (self.quoted,),
        )
        return [Column(*row) for row in cursor.fetchall()]

    def unique_keys(self, cursor: Any) -> list[set[str]]:
        """The columns of each unique index that ON CONFLICT can infer: whole, valid and not deferred."""
        cursor.execute(
            "SELECT array(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid "
            "AND attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) FROM pg_index i "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate "
            "AND i.indpred IS NULL AND i.indexprs IS NULL",
            (self.quoted,),
        )
        return [set(columns) for (columns,) in cursor.fetchall()]

    def lock(self, cursor: Any) -> None:
        """Let only one worker make the table."""
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"greennode {self.quoted}",))


def _copy(cursor: Any, statement: str, rows: pa.Table) -> None:
    if hasattr(cursor, "copy"):  # psycopg
        with cursor.copy(statement) as copy:
            for chunk in _csv(rows):
                copy.write(chunk)
        return
    with tempfile.TemporaryFile() as spool:  # psycopg2 reads a file
        spool.writelines(_csv(rows))
        spool.seek(0)
        cursor.copy_expert(statement, spool)


def _csv(rows: pa.Table) -> Iterator[bytes]:
    """The rows as CSV, some thousand at a time."""
    # Every value quoted, NULL left bare: the one way in which CSV tells NULL from an empty text.
    options = pacsv.WriteOptions(include_header=False, quoting_style="all_valid")
    for batch in rows.to_batches(max_chunksize=_CHUNK_ROWS):
        sink = io.BytesIO()
        pacsv.write_csv(_without_nul(pa.table(batch)), sink, options)
        yield sink.getvalue()


def _without_nul(rows: pa.Table) -> pa.Table:
    """PostgreSQL's text and jsonb cannot hold U+0000, and a model may write it: it becomes U+FFFD."""
    for place, field in enumerate(rows.schema):
        if not pa.types.is_string(field.type):
            continue
        if is_json(field) and pc.any(pc.match_substring(rows[place], "\\u0000")).as_py():
            mended = [None if text is None else _ESCAPED_NUL.sub("\\1\ufffd", text) for text in rows[place].to_pylist()]
            rows = rows.set_column(place, field, pa.array(mended, field.type))
        if pc.any(pc.match_substring(rows[place], "\x00")).as_py():
            rows = rows.set_column(place, field, pc.replace_substring(rows[place], "\x00", "\ufffd"))
    return rows
