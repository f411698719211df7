"""Targets: one shard's joined rows, upserted by key in one transaction; made if missing, checked if not."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from greennode_batch.collect.answers import is_json
from greennode_batch.errors import ConfigError


class SqlTable(ABC):
    """A table behind a DB-API connection. Each public call is one transaction."""

    def __init__(self, connection: Any, table: str, key: Sequence[str]) -> None:
        self._connection = connection
        self._parts = table.split(".")
        self._table = ".".join(map(quote, self._parts))
        self._key = tuple(key)
        self.name = table

    def prepare(self, schema: pa.Schema) -> None:
        """Make the table if it is missing; raise ConfigError if it cannot take these columns by this key."""
        with self._transaction() as cursor:
            self._lock(cursor)
            existing = self._columns(cursor)
            if not existing:
                cursor.execute(self._create_statement(schema))
                return
            missing = [field for field in schema if field.name not in existing]
            if missing:
                additions = ", ".join(f"ADD COLUMN {quote(f.name)} {self._type(f)}" for f in missing)
                raise ConfigError(
                    f"table {self.name} has no column {', '.join(field.name for field in missing)} (it has "
                    f"{', '.join(existing)}). Nothing was sent. Name another table, or add what is missing: "
                    f"ALTER TABLE {self._table} {additions}"
                )
            if not self._has_unique_key(cursor):
                key = ", ".join(map(quote, self._key))
                raise ConfigError(
                    f"table {self.name} has no unique index on exactly ({', '.join(self._key)}), so rows cannot be "
                    f"upserted. Nothing was sent. Add it: CREATE UNIQUE INDEX ON {self._table} ({key})"
                )

    @abstractmethod
    def write(self, rows: pa.Table) -> int:
        """Upsert the rows by key; how many were written."""

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        # Not `with connection:`, which closes a psycopg connection and leaves the others open.
        try:
            yield self._connection.cursor()
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def keys(self, run_id: str) -> set[tuple[Any, ...]]:
        """The keys of all rows that this run has written."""
        with self._transaction() as cursor:
            cursor.execute(
                f"SELECT {', '.join(map(quote, self._key))} FROM {self._table} WHERE run_id = {self._mark}",  # noqa: S608
                (run_id,),
            )
            return set(map(tuple, cursor.fetchall()))

    def count(self, run_id: str) -> int:
        """How many rows this run has written."""
        with self._transaction() as cursor:
            cursor.execute(
                f"SELECT count(*) FROM {self._table} WHERE run_id = {self._mark}",  # noqa: S608 - quoted
                (run_id,),
            )
            return int(cursor.fetchone()[0])

    _mark: str

    @abstractmethod
    def _type(self, field: pa.Field) -> str: ...

    @abstractmethod
    def _columns(self, cursor: Any) -> list[str]: ...

    @abstractmethod
    def _has_unique_key(self, cursor: Any) -> bool: ...

    @abstractmethod
    def _lock(self, cursor: Any) -> None:
        """Let only one worker make the table."""

    def _create_statement(self, schema: pa.Schema) -> str:
        not_null = {*self._key, "status", "run_id"}
        columns = [
            f"{quote(field.name)} {self._type(field)}{' NOT NULL' if field.name in not_null else ''}"
            for field in schema
        ]
        key = ", ".join(map(quote, self._key))
        return f"CREATE TABLE {self._table} ({', '.join(columns)}, PRIMARY KEY ({key}))"

    def _upsert_tail(self, columns: Sequence[str]) -> str:
        updates = ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns if c not in self._key)
        return f"ON CONFLICT ({', '.join(map(quote, self._key))}) DO UPDATE SET {updates}"


class PostgresTable(SqlTable):
    """PostgreSQL: COPY into a temporary table, then one INSERT … ON CONFLICT."""

    _mark = "%s"

    def write(self, rows: pa.Table) -> int:
        """Upsert the rows by key; how many were written."""
        columns = ", ".join(map(quote, rows.column_names))
        with self._transaction() as cursor:
            cursor.execute(
                f"CREATE TEMPORARY TABLE greennode_shard ON COMMIT DROP AS SELECT {columns} FROM {self._table} LIMIT 0"  # noqa: S608
            )
            self._copy(cursor, f"COPY greennode_shard ({columns}) FROM STDIN (FORMAT csv)", rows)
            # One order of locks for all workers: two shards can never wait for each other.
            order = ", ".join(map(quote, self._key))
            cursor.execute(
                f"INSERT INTO {self._table} ({columns}) SELECT {columns} FROM greennode_shard ORDER BY {order} "  # noqa: S608
                + self._upsert_tail(rows.column_names)
            )
            return int(cursor.rowcount)

    @staticmethod
    def _copy(cursor: Any, statement: str, rows: pa.Table) -> None:
        # Every value quoted, NULL left bare: the one way in which CSV tells NULL from an empty text.
        options = pacsv.WriteOptions(include_header=False, quoting_style="all_valid")
        chunks = (_csv(batch, options) for batch in _without_nul(rows).to_batches(max_chunksize=5_000))
        if hasattr(cursor, "copy"):  # psycopg
            with cursor.copy(statement) as copy:
                for chunk in chunks:
                    copy.write(chunk)
        else:  # psycopg2
            cursor.copy_expert(statement, io.BytesIO(b"".join(chunks)))

    def _type(self, field: pa.Field) -> str:
        if is_json(field):
            return "jsonb"
        return _sql_type(field.type, decimal="numeric", zoned="timestamptz")

    def _columns(self, cursor: Any) -> list[str]:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 "
            "AND NOT attisdropped ORDER BY attnum",
            (self._table,),
        )
        return [name for (name,) in cursor.fetchall()]

    def _has_unique_key(self, cursor: Any) -> bool:
        cursor.execute(
            "SELECT array(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid "
            "AND attnum = ANY (i.indkey)) FROM pg_index i "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL",
            (self._table,),
        )
        return any(set(columns) == set(self._key) for (columns,) in cursor.fetchall())

    def _lock(self, cursor: Any) -> None:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"greennode {self._table}",))


class SqliteTable(SqlTable):
    """SQLite: executemany with ON CONFLICT."""

    _mark = "?"

    def write(self, rows: pa.Table) -> int:
        """Upsert the rows by key; how many were written."""
        names = rows.column_names
        marks = ", ".join("?" * len(names))
        statement = (
            f"INSERT INTO {self._table} ({', '.join(map(quote, names))}) VALUES ({marks}) "  # noqa: S608
            + self._upsert_tail(names)
        )
        with self._transaction() as cursor:
            for batch in _as_sqlite(rows).to_batches(max_chunksize=5_000):
                cursor.executemany(statement, zip(*(c.to_pylist() for c in batch.columns), strict=True))
        return int(rows.num_rows)

    def _type(self, field: pa.Field) -> str:
        return _sql_type(field.type, decimal="text", zoned="text")

    def _columns(self, cursor: Any) -> list[str]:
        cursor.execute("SELECT name FROM pragma_table_info(?)", (self._parts[-1],))
        return [name for (name,) in cursor.fetchall()]

    def _has_unique_key(self, cursor: Any) -> bool:
        cursor.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0", (self._parts[-1],))
        if {name for (name,) in cursor.fetchall()} == set(self._key):
            return True
        cursor.execute("SELECT name FROM pragma_index_list(?) WHERE [unique] AND NOT partial", (self._parts[-1],))
        for (index,) in cursor.fetchall():
            cursor.execute("SELECT name FROM pragma_index_info(?)", (index,))
            if {name for (name,) in cursor.fetchall()} == set(self._key):
                return True
        return False

    def _lock(self, cursor: Any) -> None:
        cursor.execute("BEGIN IMMEDIATE")


def sql_table(connection: Any, table: str, key: Sequence[str]) -> SqlTable:
    """The table on a DB-API connection, by the connection's driver. Raises ConfigError for one not supported."""
    driver = type(connection).__module__.partition(".")[0]
    if driver in {"psycopg", "psycopg2"}:
        return PostgresTable(connection, table, key)
    if driver == "sqlite3":
        return SqliteTable(connection, table, key)
    raise ConfigError(f"a target on {driver} is not supported; use PostgreSQL or SQLite")


def quote(identifier: str) -> str:
    """An SQL identifier, quoted."""
    if not identifier or "\x00" in identifier:
        raise ConfigError(f"{identifier!r} is not a name of a table or column")
    return '"' + identifier.replace('"', '""') + '"'


def _sql_type(arrow: pa.DataType, *, decimal: str, zoned: str) -> str:
    kinds = (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "bigint"),
        (pa.types.is_floating, "double precision"),
        (pa.types.is_decimal, decimal),
        (pa.types.is_date, "date"),
        (pa.types.is_timestamp, zoned if getattr(arrow, "tz", None) else "timestamp"),
    )
    return next((name for is_kind, name in kinds if is_kind(arrow)), "text")


def _without_nul(rows: pa.Table) -> pa.Table:
    """PostgreSQL's text cannot hold U+0000, and a model may write it: it becomes U+FFFD."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_string(field.type) and pc.any(pc.match_substring(rows[place], "\x00")).as_py():
            rows = rows.set_column(place, field, pc.replace_substring(rows[place], "\x00", "\ufffd"))
    return rows


def _csv(batch: pa.RecordBatch, options: pacsv.WriteOptions) -> bytes:
    sink = io.BytesIO()
    pacsv.write_csv(batch, sink, options)
    return sink.getvalue()


def _as_sqlite(rows: pa.Table) -> pa.Table:
    """SQLite has no dates and decimals: they are kept as ISO 8601 and decimal text."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_temporal(field.type) or pa.types.is_decimal(field.type):
            rows = rows.set_column(place, field.name, rows[place].cast(pa.string()))
    return rows
