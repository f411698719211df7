"""SQLite as a target: executemany with ON CONFLICT."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.tables.key_values import ZONED, KeyValues
from greennode_batch.tables.sql_dialect import Dialect, Upserted
from greennode_batch.tables.table_columns import GENERATED, Column, kind_of, limit_of
from greennode_batch.tables.typed_rows import from_tuples

_CHUNK_ROWS = 5_000
_READ_ROWS = 10_000
# Kinds of values that are stored as text, and whose texts differ where they differ.
_AS_TEXT = {"str", "UUID", "date", "datetime", ZONED}
COLLATIONS = (
    "SELECT c.name, c.coll FROM pragma_index_list(:table, :schema) i, pragma_index_xinfo(i.name, :schema) c "
    "WHERE i.\"unique\" AND NOT i.partial AND c.key AND c.name IS NOT NULL AND c.coll <> 'BINARY'"
)
"""Columns of a table's unique indexes that do not compare texts by their bytes, and their collations."""
_FIRST_WITH_STRICT = (3, 37)
# What a column of a STRICT table holds, by its type.
_INTEGER: dict[str, Any] = {"kind": "integer", "least": -(1 << 63), "greatest": (1 << 63) - 1}
_STRICT: dict[str, dict[str, Any]] = {"INT": _INTEGER, "INTEGER": _INTEGER, "REAL": {"kind": "double"}}
_TYPES = {"boolean", "bigint", "double precision", "date", "timestamp"}


class SqliteDialect(Dialect):
    """SQLite. It has no dates or decimals: they are stored as ISO 8601 text and decimal text."""

    undoes_tables = True

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction, even on an autocommit connection. Only one worker may write at a time."""
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    def type_of(self, field: pa.Field) -> str:
        """The type of a new column for a field."""
        kind = kind_of(field)
        return kind if kind in _TYPES else "text"

    def columns(self, tx: Any) -> list[Column]:
        """The table's columns; empty if the table does not exist."""
        # pragma_table_info leaves out generated columns.
        query = (
            'SELECT name, "notnull" AND dflt_value IS NULL AND NOT pk, type, "notnull", hidden IN (2, 3) '
            "FROM pragma_table_xinfo(?, ?)"
        )
        limits = _STRICT if self._is_strict(tx) else {}
        return [
            Column(
                name,
                bool(is_demanded),
                kind,
                is_not_null=bool(not_null),
                generated=GENERATED if is_generated else "",
                limit=limit_of(self.name, name, kind, limits.get(kind.upper())),
            )
            for name, is_demanded, kind, not_null, is_generated in self.run(tx, query, self._place)
        ]

    def _is_strict(self, tx: Any) -> bool:
        """Whether the table's columns hold values of their types only."""
        if sqlite3.sqlite_version_info < _FIRST_WITH_STRICT:
            return False
        query = "SELECT 1 FROM pragma_table_list WHERE name = ? AND schema = ? AND strict"
        return self.run(tx, query, self._place).fetchone() is not None

    def check_kind(self, tx: Any) -> None:
        """Raise ConfigError for a view: it has no unique index."""
        table, schema = self._place
        schema_table = f"{self.quote(schema)}.sqlite_master"
        if self.run(tx, f"SELECT 1 FROM {schema_table} WHERE type = 'view' AND name = ?", (table,)).fetchone():  # noqa: S608
            raise ConfigError(
                f"table {self.name} is a view, and rows are upserted only into tables that have unique indexes. "
                "Nothing was sent. Name the table behind it"
            )

    def unique_keys(self, tx: Any) -> list[set[str]]:
        """The columns of the primary key and of each unique index that is not partial."""
        found = [self.run(tx, "SELECT name FROM pragma_table_info(?, ?) WHERE pk > 0", self._place)]
        indexes = 'SELECT name FROM pragma_index_list(?, ?) WHERE "unique" AND NOT partial'
        for (index,) in self.run(tx, indexes, self._place):
            found.append(self.run(tx, "SELECT name FROM pragma_index_info(?, ?)", (index, self._place[1])))
        return [{name for (name,) in names} for names in found]

    def unique_indexes(self, tx: Any) -> list[tuple[str, set[str]]]:
        """Each unique index: its name and its columns."""
        indexes = self.run(tx, 'SELECT name FROM pragma_index_list(?, ?) WHERE "unique"', self._place).fetchall()
        columns = "SELECT name FROM pragma_index_info(?, ?) WHERE name IS NOT NULL"
        return [(index, {name for (name,) in self.run(tx, columns, (index, self._place[1]))}) for (index,) in indexes]

    def keeps_apart(self, column: Column | None, values: KeyValues) -> bool:
        """Whether it is certain that a key column holds each of these values, and keeps different ones apart."""
        affinity = "" if column is None else _affinity(column.type)
        if values.kinds == {"int"}:
            return affinity in {"", "INTEGER", "TEXT"}
        # A number in a text becomes a number in columns of numbers. NaN becomes NULL in any.
        return not values.kinds or (values.kinds <= _AS_TEXT and affinity in {"", "TEXT"})

    def collations(self, tx: Any) -> dict[str, str]:
        """The collations of unique indexes that take different texts for one, such as NOCASE."""
        table, schema = self._place
        found = self.run(tx, COLLATIONS, {"table": table, "schema": schema}).fetchall()
        return {name: f" COLLATE {self.quote(collation)}" for name, collation in found if name in self.key}

    def alter_column(self, name: str, action: str) -> str:
        """What to do in place of a statement: SQLite alters no column."""
        return f"SQLite has no statement for it; make the table again with {action} for {self.quote(name)}"

    def upsert(self, tx: Any, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key."""
        written = standing = 0
        for some in rows:
            taken = self._inserted(tx, self.quoted, some, self.upsert_tail(some.column_names))
            written += taken
            if taken < some.num_rows:
                with self.staged(tx, "greennode_shard", [some]) as names:
                    standing += self.count_standing(tx, "greennode_shard", names)
        return Upserted(written, standing)

    def try_upsert(self, tx: Any, names: Sequence[str]) -> None:
        """Run the upsert's statement on no rows. The driver runs no statement for an empty list of rows."""
        columns = self.names(names)
        nothing = f"SELECT {columns} FROM {self.quoted} WHERE 1 = 0"  # noqa: S608 - quoted
        self.run(tx, f"INSERT INTO {self.quoted} ({columns}) {nothing} {self.upsert_tail(names)}")

    def try_rows(self, tx: Any, rows: pa.Table, *, removes: bool) -> None:
        """Try the rows in the table itself: what its triggers do is rolled back with them."""
        self.upsert(tx, [rows])

    def insert(self, tx: Any, staged: str, rows: pa.Table) -> None:
        """Insert rows into a temporary table."""
        self._inserted(tx, staged, rows)

    def make_quick(self, tx: Any, staged: str, names: Sequence[str]) -> None:
        """Add an index on these columns."""
        self.run(tx, f"CREATE INDEX temp.{staged}_index ON {staged} ({self.names(names)})")

    def read(self, tx: Any, run_id: str, schema: pa.Schema, job_id: str | None = None) -> Iterator[pa.Table]:
        """Yield the run's rows. SQLite finds them on demand."""
        query = f"SELECT {self.names(schema.names)} FROM {self.quoted} WHERE run_id = ?"  # noqa: S608 - quoted
        parameters = [run_id]
        if job_id is not None:
            query += f" AND {self.quote(JOB_ID)} = ?"
            parameters.append(job_id)
        found = self.run(tx, query, parameters)
        while rows := found.fetchmany(_READ_ROWS):
            yield from_tuples(rows, schema)

    def fetch(self, tx: Any, query: str, schema: pa.Schema) -> pa.Table:
        """Read the rows of a query."""
        return from_tuples(self.run(tx, query).fetchall(), schema)

    def _inserted(self, tx: Any, table: str, rows: pa.Table, tail: str = "") -> int:
        for index, field in enumerate(rows.schema):
            if pa.types.is_temporal(field.type) or pa.types.is_decimal(field.type) or pa.types.is_uint64(field.type):
                rows = rows.set_column(index, field.name, rows[index].cast(pa.string()))
        marks = ", ".join("?" * rows.num_columns)
        statement = f"INSERT INTO {table} ({self.names(rows.column_names)}) VALUES ({marks}) {tail}"  # noqa: S608
        cursor = tx.cursor()
        written = 0
        for batch in rows.to_batches(max_chunksize=_CHUNK_ROWS):
            cursor.executemany(statement, zip(*(column.to_pylist() for column in batch.columns), strict=True))
            written += int(cursor.rowcount)
        return written

    @property
    def _place(self) -> tuple[str, str]:
        """The table and its schema; the default schema is `main`."""
        return self.parts[-1], self.parts[0] if len(self.parts) > 1 else "main"


def _affinity(declared: str) -> str:
    """How SQLite converts the values of a column, by the rules of its documentation for declared types."""
    kind = declared.upper()
    if "INT" in kind:
        return "INTEGER"
    if any(part in kind for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    return "" if not kind or "BLOB" in kind else "NUMERIC"
