"""SQLite as a target: executemany with ON CONFLICT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from greennode_batch.tables.columns import Column, quote, sql_type
from greennode_batch.tables.sql_table import SqlTable
from greennode_batch.tables.typed_rows import from_tuples

_CHUNK_ROWS = 5_000
_READ_ROWS = 10_000


class SqliteTable(SqlTable):
    """A table of SQLite. It has no dates and decimals: they are kept as ISO 8601 and decimal text."""

    def check_names(self, names: Sequence[str]) -> None:
        """SQLite keeps any name."""

    def upsert(self, cursor: Any, rows: Iterable[pa.Table]) -> int:
        """Upsert the rows by key; how many were written."""
        self.lock(cursor)
        written = 0
        for some in rows:
            names = some.column_names
            statement = (
                f"INSERT INTO {self.quoted} ({', '.join(map(quote, names))}) "  # noqa: S608 - quoted
                f"VALUES ({', '.join('?' * len(names))}) {self.upsert_tail(names)}"
            )
            for batch in _as_sqlite(some).to_batches(max_chunksize=_CHUNK_ROWS):
                cursor.executemany(statement, zip(*(column.to_pylist() for column in batch.columns), strict=True))
                written += int(cursor.rowcount)
        return written

    def read(self, cursor: Any, run_id: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows: SQLite finds them as they are asked for."""
        names = ", ".join(map(quote, schema.names))
        with closing(self._connection.cursor()) as reading:
            reading.execute(f"SELECT {names} FROM {self.quoted} WHERE run_id = ?", (run_id,))  # noqa: S608 - quoted
            while rows := reading.fetchmany(_READ_ROWS):
                yield from_tuples(rows, schema)

    def look_up(self, cursor: Any, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """The rows that have these keys, one by one: SQLite is in this process."""
        statement = (
            f"SELECT {', '.join(map(quote, schema.names[1:]))} FROM {self.quoted} "  # noqa: S608 - quoted
            f"WHERE {' AND '.join(f'{quote(name)} = ?' for name in keys.column_names)}"
        )
        columns = [column.to_pylist() for column in _as_sqlite(keys).columns]
        found = [
            (place, *row)
            for place, key in enumerate(zip(*columns, strict=True))
            for row in cursor.execute(statement, key).fetchall()
        ]
        return from_tuples(found, schema)

    def gather(self, cursor: Any, name: str, keys: Iterable[pa.Table]) -> list[str]:
        """Put keys into a temporary table that has the target's own types; the names of their columns."""
        names: list[str] = []
        if not self._connection.in_transaction:
            self.lock(cursor)
        cursor.execute(f"DROP TABLE IF EXISTS temp.{name}")
        for some in keys:
            if not names:
                names = some.column_names
                quoted = ", ".join(map(quote, names))
                cursor.execute(f"CREATE TEMPORARY TABLE {name} AS SELECT {quoted} FROM {self.quoted} LIMIT 0")  # noqa: S608
                cursor.execute(f"CREATE INDEX temp.{name}_index ON {name} ({quoted})")
            rows = zip(*(column.to_pylist() for column in _as_sqlite(some).columns), strict=True)
            cursor.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(names))})", rows)  # noqa: S608
        return names

    def type_of(self, field: pa.Field) -> str:
        """The column type for a field."""
        return sql_type(field.type, decimal="text", large="text", zoned="text")

    def columns(self, cursor: Any) -> list[Column]:
        """The table's columns, none if there is no such table."""
        cursor.execute(
            'SELECT name, "notnull" AND dflt_value IS NULL AND NOT pk FROM pragma_table_info(?, ?)', self._place
        )
        return [Column(name, bool(is_demanded)) for name, is_demanded in cursor.fetchall()]

    def unique_keys(self, cursor: Any) -> list[set[str]]:
        """The primary key, and the columns of each whole unique index."""
        table, schema = self._place
        cursor.execute("SELECT name FROM pragma_table_info(?, ?) WHERE pk > 0", (table, schema))
        found = [{name for (name,) in cursor.fetchall()}]
        cursor.execute('SELECT name FROM pragma_index_list(?, ?) WHERE "unique" AND NOT partial', (table, schema))
        for (index,) in cursor.fetchall():
            cursor.execute("SELECT name FROM pragma_index_info(?, ?)", (index, schema))
            found.append({name for (name,) in cursor.fetchall()})
        return found

    def lock(self, cursor: Any) -> None:
        """Let only one worker make or write the table, also on a connection that commits by itself."""
        cursor.execute("BEGIN IMMEDIATE")

    @property
    def _place(self) -> tuple[str, str]:
        """The table and its schema, which is `main` unless it is named."""
        return self.parts[-1], self.parts[0] if len(self.parts) > 1 else "main"


def _as_sqlite(rows: pa.Table) -> pa.Table:
    for place, field in enumerate(rows.schema):
        if pa.types.is_temporal(field.type) or pa.types.is_decimal(field.type) or pa.types.is_uint64(field.type):
            rows = rows.set_column(place, field.name, rows[place].cast(pa.string()))
    return rows
