"""Dialect: the operations on a target's table that differ between kinds of databases."""

# ruff: noqa: B027 - a dialect leaves a method empty where its database has nothing to do.
from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.state.column_limit import ColumnLimit
from greennode_batch.state.table_digest import TableDigest
from greennode_batch.tables.key_values import KeyValues
from greennode_batch.tables.standing_rows import stands
from greennode_batch.tables.table_columns import Column, Fit, quote

_MAX_PARTS = 2  # schema.table
PLACE = "greennode place"
"""A column of a temporary table: the index of a row's key among all of them."""
_KEYS = "greennode_keys"
_OWNER = "greennode_owner"
TRIAL = "greennode_trial"
"""The name of the temporary table in which `try_rows` tries rows."""


class Digests(NamedTuple):
    """The digests of all rows, and of the rows that do not belong to one run."""

    all_rows: TableDigest
    others: TableDigest


class Upserted(NamedTuple):
    """The outcome of an upsert, in rows."""

    written: int
    standing: int
    """Existing rows that stayed as they are, in place of new ones (see standing_rows.py)."""


class RowRule(NamedTuple):
    """A constraint on values of single rows."""

    name: str
    columns: tuple[str, ...]
    refuses: str
    """The SQL condition that a row of TRIAL breaks the constraint."""
    reason: str
    """What the constraint demands, in words."""


class Dialect(ABC):
    """A table in one kind of database. tx: an open transaction.

    The methods here suit a DB-API connection; subclasses override what their database does differently.
    """

    makes_digests: ClassVar[bool] = False
    """Whether `digests` works."""
    undoes_tables: ClassVar[bool] = False
    """Whether a transaction that is rolled back also undoes what it has done to tables."""

    def __init__(self, connection: Any, name: str, key: Sequence[str]) -> None:
        self.name = name
        self.key = tuple(key)
        self.parts = name.split(".")
        if len(self.parts) > _MAX_PARTS:
            raise ConfigError(f"table {name}: the name has too many parts; write table or schema.table")
        self.quoted = ".".join(map(self.quote, self.parts))
        self.driver: Any = importlib.import_module(type(connection).__module__.partition(".")[0])
        self.error: Any = getattr(self.driver, "Error", None)
        self._connection = connection

    @contextmanager
    def transaction(self, *, writes: bool = False) -> Iterator[Any]:
        """Run one transaction. writes: whether it changes rows or tables."""
        # Not `with connection:`, which closes a connection of psycopg but not of other drivers.
        try:
            self.begin(writes=writes)
            yield self._connection
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    @contextmanager
    def trial(self, *, writes: bool = True) -> Iterator[Any]:
        """Run one transaction, and roll it back."""
        try:
            self.begin(writes=writes)
            yield self._connection
        finally:
            self._connection.rollback()

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction, if the driver does not do so itself."""

    def lock(self, tx: Any) -> None:
        """Let only one worker at a time create the table, if a writing transaction does not ensure that."""

    def run(self, tx: Any, statement: str, *parameters: Any) -> Any:
        """Run a statement in the driver's own syntax and return a cursor with its rows."""
        cursor = tx.cursor()
        cursor.execute(statement, *parameters)
        return cursor

    def quote(self, name: str) -> str:
        """Quote a name in the way of this database."""
        return quote(name)

    def names(self, names: Iterable[str]) -> str:
        """Quote names and join them with commas."""
        return ", ".join(map(self.quote, names))

    def same(self, staged: str, names: Iterable[str]) -> str:
        """The condition that a row of the table and one of a temporary table agree in these columns."""
        return " AND ".join(f"{self.own(name)} = {staged}.{self.quote(name)}" for name in names)

    def check_names(self, names: Sequence[str]) -> None:
        """Raise ConfigError for a name that this database would change."""

    @abstractmethod
    def type_of(self, field: pa.Field) -> str:
        """The type of a new column for a field."""

    def fit(self, field: pa.Field, column: Column) -> Fit:
        """Whether an existing column accepts a field's values; by default, every column does."""
        return Fit.ALWAYS

    @abstractmethod
    def columns(self, tx: Any) -> list[Column]:
        """The table's columns; empty if the table does not exist."""

    @property
    def user(self) -> str:
        """The database's user; empty if the database has none."""
        return ""

    def check_kind(self, tx: Any) -> None:
        """Raise ConfigError for an existing table of a kind that takes no upsert, such as a view."""

    def has_row_security(self, tx: Any) -> bool:
        """Whether the database decides row by row what this user may see and write."""
        return False

    @abstractmethod
    def unique_keys(self, tx: Any) -> list[set[str]]:
        """The columns of each unique index that an upsert can use."""

    def unique_indexes(self, tx: Any) -> list[tuple[str, set[str]]]:
        """Each unique index, also one that an upsert cannot use: its name, and the columns that it depends on."""
        return []

    def row_rules(self, tx: Any) -> list[RowRule]:
        """The constraints on single rows that can be tried in a temporary table."""
        return []

    def is_to_be_tried(self, column: Column) -> bool:
        """Whether only the database knows which texts a column takes, and a temporary table shows it."""
        return False

    def widen(self, limit: ColumnLimit, field: pa.Field) -> str:
        """The statement after which a column no longer limits a field's values."""
        wanted = pa.field(field.name, pa.string()) if limit.kind == "text" else field
        return self.alter_column(field.name, f"TYPE {self.type_of(wanted)}")

    def alter_column(self, name: str, action: str) -> str:
        """The statement that alters a column. action: as standard SQL writes it, such as DROP NOT NULL."""
        return f"ALTER TABLE {self.quoted} ALTER COLUMN {self.quote(name)} {action}"

    def add_words(self, field: pa.Field, limit: ColumnLimit, words: Iterable[str]) -> str:
        """The statement after which the column, an enumeration, also holds these words."""
        return self.alter_column(field.name, f"TYPE {self.type_of(field)}")

    def drop_index(self, name: str) -> str:
        """The statement that drops a unique index, or the constraint that owns it."""
        return f"DROP INDEX {self.quote(name)}"

    def create_statement(self, schema: pa.Schema) -> str:
        """The statement that creates the table."""
        not_null = {*self.key, "status", "run_id"}
        columns = [
            f"{self.quote(field.name)} {self.type_of(field)}{' NOT NULL' if field.name in not_null else ''}"
            for field in schema
        ]
        return f"CREATE TABLE {self.quoted} ({', '.join(columns)}, PRIMARY KEY ({self.names(self.key)}))"

    @abstractmethod
    def upsert(self, tx: Any, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key, except where an existing row must stay. Holds some of the rows."""

    def check_at_once(self, tx: Any) -> None:
        """Check constraints at each statement of the transaction, also those that wait for its commit."""

    def try_upsert(self, tx: Any, names: Sequence[str]) -> None:
        """Run the statements of an upsert of these columns, on no rows."""
        self.upsert(tx, [pa.table({name: pa.array([], pa.string()) for name in names})])

    def try_rows(self, tx: Any, rows: pa.Table, *, removes: bool) -> None:
        """Try whether the table accepts these rows, if this database can try that without a trace.

        removes: whether the run also deletes rows.
        """

    def upsert_tail(self, columns: Sequence[str]) -> str:
        """The clause after the rows of an INSERT, which makes it an upsert."""
        updates = ", ".join(f"{self.quote(c)} = excluded.{self.quote(c)}" for c in columns if c not in self.key)
        stay = stands(columns, self.own, lambda name: f"excluded.{self.quote(name)}")
        # Not NOT: if a value is NULL, the condition is neither true nor false.
        where = f" WHERE CASE WHEN {stay} THEN 0 ELSE 1 END = 1" if stay else ""
        return f"ON CONFLICT ({self.names(self.key)}) DO UPDATE SET {updates}{where}"

    def own(self, name: str) -> str:
        """A column of the target's table, qualified and quoted."""
        return f"{self.quoted}.{self.quote(name)}"

    def count_standing(self, tx: Any, staged: str, names: Sequence[str]) -> int:
        """Count the rows that stay in place of rows of a temporary table. names: that table's columns."""
        stay = stands(names, self.own, lambda name: f"{staged}.{self.quote(name)}")
        if stay is None:
            return 0
        joined = f"{staged} JOIN {self.quoted} ON {self.same(staged, self.key)}"
        return int(self.run(tx, f"SELECT count(*) FROM {joined} WHERE {stay}").fetchone()[0])  # noqa: S608 - quoted

    @abstractmethod
    def read(self, tx: Any, run_id: str, schema: pa.Schema, job_id: str | None = None) -> Iterator[pa.Table]:
        """Yield a run's rows in these columns, in batches if the driver can. job_id: only this job's rows."""

    def look_up(self, tx: Any, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """Look up the rows with these keys. The schema's first column gets the index of the row's key in `keys`."""
        placed = keys.append_column(PLACE, pa.array(range(keys.num_rows), pa.int64()))
        with self.staged(tx, _KEYS, [placed]):
            values = ", ".join(map(self.value, schema.names[1:]))
            joined = f"{_KEYS} JOIN {self.quoted} ON {self.same(_KEYS, keys.column_names)}"
            return self.fetch(tx, f"SELECT {_KEYS}.{quote(PLACE)}, {values} FROM {joined}", schema)  # noqa: S608

    def value(self, name: str) -> str:
        """The SQL expression that reads a column."""
        return self.own(name)

    def fetch(self, tx: Any, query: str, schema: pa.Schema) -> pa.Table:
        """Read the rows of a query, in these columns."""
        raise NotImplementedError

    @abstractmethod
    def keeps_apart(self, column: Column | None, values: KeyValues) -> bool:
        """Whether it is certain that a key column holds each of these values, and keeps different ones apart.

        If not, the database itself has to compare them. column: None for the column that a new table gets.
        """

    def collations(self, tx: Any) -> dict[str, str]:
        """The COLLATE clauses of key columns whose unique index takes different texts for one."""
        return {}

    def partition_rule(self, tx: Any) -> str:
        """The SQL condition that a row has a partition; empty if every row has a place."""
        return ""

    def too_large(self, tx: Any, staged: str, terms: str) -> tuple[int, str] | None:
        """The PLACE of a key that an index on these terms cannot hold, and the database's reason; None if it can."""
        return None

    @contextmanager
    def staged(self, tx: Any, name: str, pieces: Iterable[pa.Table]) -> Iterator[list[str]]:
        """Put rows into a temporary table with the target's column types. Yields the names of its columns."""
        names: list[str] = []
        for some in pieces:
            if not names:
                names = some.column_names
                self.create_staged(tx, name, names)
            self.insert(tx, name, some)
        yield names
        self.run(tx, f"DROP TABLE {name}")

    def create_staged(self, tx: Any, name: str, names: Sequence[str]) -> None:
        """Create a temporary table with these columns of the target, and PLACE if it is among them."""
        columns = ", ".join(f"0 AS {self.quote(c)}" if c == PLACE else self.quote(c) for c in names)
        self.run(tx, f"CREATE TEMPORARY TABLE {name} AS SELECT {columns} FROM {self.quoted} WHERE 1 = 0")  # noqa: S608

    @abstractmethod
    def insert(self, tx: Any, staged: str, rows: pa.Table) -> None:
        """Insert rows into a temporary table."""

    def take_over(self, tx: Any, keys: pa.Table, job_id: str) -> None:
        """Make the job the owner of the rows that have these keys and no owner yet."""
        job_ids = pa.table({JOB_ID: [job_id]}, schema=pa.schema([(JOB_ID, pa.string())]))
        with self.staged(tx, _KEYS, [keys]) as names, self.staged(tx, _OWNER, [job_ids]):
            self.run(
                tx,
                f"UPDATE {self.quoted} SET {self.quote(JOB_ID)} = (SELECT {self.quote(JOB_ID)} FROM {_OWNER}) "  # noqa: S608
                f"WHERE ({self.names(names)}) IN ({self.unowned(_KEYS, names)})",
            )

    def unowned(self, staged: str, names: Sequence[str]) -> str:
        """A query for the keys of a temporary table whose rows in the target have no owner yet."""
        own = ", ".join(map(self.own, names))
        joined = f"{staged} JOIN {self.quoted} ON {self.same(staged, names)}"
        return f"SELECT {own} FROM {joined} WHERE {self.own(JOB_ID)} IS NULL"  # noqa: S608 - quoted

    def make_quick(self, tx: Any, staged: str, names: Sequence[str]) -> None:
        """Prepare a temporary table for one lookup per row of the target."""

    def digests(self, tx: Any, run_id: str, job_id: str | None = None, rows: str = "1 = 1") -> Digests:
        """Compute the digests of an existing table's rows, if the dialect `makes_digests`.

        job_id: only this job's rows. rows: an SQL condition that selects some of them.
        """
        raise NotImplementedError
