"""Dialect: what one kind of database does its own way with a target's table."""

# ruff: noqa: B027 - where a database has nothing to do, its dialect has nothing to say.
from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.state.table_digest import TableDigest
from greennode_batch.tables.standing_rows import stands
from greennode_batch.tables.table_columns import Column, Fit, quote

_MAX_PARTS = 2  # schema.table
_INDEX = "greennode place"
_KEYS = "greennode_keys"
_OWNER = "greennode_owner"


class Digests(NamedTuple):
    """Digests of all rows, and of those that are not one run's."""

    all_rows: TableDigest
    others: TableDigest


class Upserted(NamedTuple):
    """How many rows were written, and how many of the table's own stand in place of such that were not."""

    written: int
    standing: int


class Dialect(ABC):
    """A table as a database takes it; unless told otherwise, one behind a DB-API connection. tx: a transaction."""

    makes_digests: ClassVar[bool] = False

    def __init__(self, connection: Any, name: str, key: Sequence[str]) -> None:
        self.name = name
        self.key = tuple(key)
        self.parts = name.split(".")
        if len(self.parts) > _MAX_PARTS:
            raise ConfigError(f"table {name}: name it as table or as schema.table")
        self.quoted = ".".join(map(self.quote, self.parts))
        self.driver: Any = importlib.import_module(type(connection).__module__.partition(".")[0])
        self._connection = connection

    @contextmanager
    def transaction(self, *, writes: bool = False) -> Iterator[Any]:
        """One transaction. writes: rows or tables of the database will be changed."""
        # Not `with connection:`, which closes a psycopg connection and leaves the others open.
        try:
            self.begin(writes=writes)
            yield self._connection
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction, where the driver does not do so by itself."""

    def lock(self, tx: Any) -> None:
        """Let only one worker make the table, where a transaction that writes does not."""

    def run(self, tx: Any, statement: str, *parameters: Any) -> Any:
        """Run a statement as the driver takes it; what has its rows."""
        cursor = tx.cursor()
        cursor.execute(statement, *parameters)
        return cursor

    def quote(self, name: str) -> str:
        """A name, quoted as this database wants it."""
        return quote(name)

    def names(self, names: Iterable[str]) -> str:
        """Names, quoted, with commas."""
        return ", ".join(map(self.quote, names))

    def same(self, staged: str, names: Iterable[str]) -> str:
        """The condition that a row of the table has in these columns what one of a temporary table has."""
        return " AND ".join(f"{self.own(name)} = {staged}.{self.quote(name)}" for name in names)

    def check_names(self, names: Sequence[str]) -> None:
        """Raise ConfigError for a name that this database would not keep as it is."""

    @abstractmethod
    def type_of(self, field: pa.Field) -> str:
        """The type of a column that is made for a field."""

    def fit(self, field: pa.Field, column: Column) -> Fit:
        """Whether a column that is there takes a field's values; by default, whatever it is."""
        return Fit.ALWAYS

    @abstractmethod
    def columns(self, tx: Any) -> list[Column]:
        """The table's columns, none if there is no such table."""

    @abstractmethod
    def unique_keys(self, tx: Any) -> list[set[str]]:
        """The columns of each unique index that an upsert can go by."""

    def create_statement(self, schema: pa.Schema) -> str:
        """The statement that makes the table."""
        not_null = {*self.key, "status", "run_id"}
        columns = [
            f"{self.quote(field.name)} {self.type_of(field)}{' NOT NULL' if field.name in not_null else ''}"
            for field in schema
        ]
        return f"CREATE TABLE {self.quoted} ({', '.join(columns)}, PRIMARY KEY ({self.names(self.key)}))"

    @abstractmethod
    def upsert(self, tx: Any, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key, but those whose place another row keeps. Holds some of them."""

    def upsert_tail(self, columns: Sequence[str]) -> str:
        """What follows the rows of an INSERT."""
        updates = ", ".join(f"{self.quote(c)} = excluded.{self.quote(c)}" for c in columns if c not in self.key)
        stay = stands(columns, self.own, lambda name: f"excluded.{self.quote(name)}")
        # Not NOT: where a value is NULL, the condition is neither true nor false.
        where = f" WHERE CASE WHEN {stay} THEN 0 ELSE 1 END = 1" if stay else ""
        return f"ON CONFLICT ({self.names(self.key)}) DO UPDATE SET {updates}{where}"

    def own(self, name: str) -> str:
        """A column of the table itself."""
        return f"{self.quoted}.{self.quote(name)}"

    def count_standing(self, tx: Any, staged: str, names: Sequence[str]) -> int:
        """How many rows of the table stand in place of rows of a temporary table, whose columns these are."""
        stay = stands(names, self.own, lambda name: f"{staged}.{self.quote(name)}")
        if stay is None:
            return 0
        joined = f"{staged} JOIN {self.quoted} ON {self.same(staged, self.key)}"
        return int(self.run(tx, f"SELECT count(*) FROM {joined} WHERE {stay}").fetchone()[0])  # noqa: S608 - quoted

    @abstractmethod
    def read(self, tx: Any, run_id: str, schema: pa.Schema, job_id: str | None = None) -> Iterator[pa.Table]:
        """A run's rows in these columns, some thousand at a time where the driver can. job_id: only this job's."""

    def look_up(self, tx: Any, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """Each row that has one of these keys, with its place among them, in these columns; as `read` gives them."""
        placed = keys.append_column(_INDEX, pa.array(range(keys.num_rows), pa.int64()))
        with self.staged(tx, _KEYS, [placed]):
            values = ", ".join(map(self.value, schema.names[1:]))
            joined = f"{_KEYS} JOIN {self.quoted} ON {self.same(_KEYS, keys.column_names)}"
            return self.fetch(tx, f"SELECT {_KEYS}.{quote(_INDEX)}, {values} FROM {joined}", schema)  # noqa: S608

    def value(self, name: str) -> str:
        """What is read of a column."""
        return self.own(name)

    def fetch(self, tx: Any, query: str, schema: pa.Schema) -> pa.Table:
        """What a query gives, in these columns."""
        raise NotImplementedError

    @contextmanager
    def staged(self, tx: Any, name: str, pieces: Iterable[pa.Table]) -> Iterator[list[str]]:
        """Rows in a temporary table of this name, whose columns have the target's own types; their names."""
        names: list[str] = []
        for some in pieces:
            if not names:
                names = some.column_names
                columns = ", ".join(f"0 AS {quote(c)}" if c == _INDEX else self.quote(c) for c in names)
                self.run(tx, f"CREATE TEMPORARY TABLE {name} AS SELECT {columns} FROM {self.quoted} WHERE 1 = 0")  # noqa: S608
            self.insert(tx, name, some)
        yield names
        self.run(tx, f"DROP TABLE {name}")

    @abstractmethod
    def insert(self, tx: Any, staged: str, rows: pa.Table) -> None:
        """Put rows into a temporary table."""

    def take_over(self, tx: Any, keys: pa.Table, job_id: str) -> None:
        """Make those rows the job's which have these keys and are nobody's yet."""
        job_ids = pa.table({JOB_ID: [job_id]}, schema=pa.schema([(JOB_ID, pa.string())]))
        with self.staged(tx, _KEYS, [keys]) as names, self.staged(tx, _OWNER, [job_ids]):
            self.run(
                tx,
                f"UPDATE {self.quoted} SET {self.quote(JOB_ID)} = (SELECT {self.quote(JOB_ID)} FROM {_OWNER}) "  # noqa: S608
                f"WHERE ({self.names(names)}) IN ({self.unowned(_KEYS, names)})",
            )

    def unowned(self, staged: str, names: Sequence[str]) -> str:
        """A query for those keys of a temporary table whose rows are nobody's yet."""
        own = ", ".join(map(self.own, names))
        joined = f"{staged} JOIN {self.quoted} ON {self.same(staged, names)}"
        return f"SELECT {own} FROM {joined} WHERE {self.own(JOB_ID)} IS NULL"  # noqa: S608 - quoted

    def make_quick(self, tx: Any, staged: str, names: Sequence[str]) -> None:
        """Make a temporary table quick to look into for each row of the target."""

    def digests(self, tx: Any, run_id: str, job_id: str | None = None, rows: str = "1 = 1") -> Digests:
        """Digests of the rows of a table that is there; only where `makes_digests`.

        job_id: only this job's. rows: a condition, for some of them.
        """
        raise NotImplementedError
