"""A target table behind a DB-API connection: made if missing, checked if not, upserted by key."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyarrow as pa

from greennode_batch.errors import ConfigError
from greennode_batch.state.fingerprint import NO_ROWS, Fingerprint
from greennode_batch.state.plan import LeftRows
from greennode_batch.tables.columns import Column, Fit, quote
from greennode_batch.tables.shown_keys import SHOWN, Named
from greennode_batch.tables.table_check import check_table
from greennode_batch.tables.typed_rows import found_schema

_MAX_PARTS = 2  # schema.table
# Temporary tables.
KEYS = "greennode_source_keys"
ASKED = "greennode_asked"
DIGEST = "greennode digest"
"""A column of what `find` gives: a number that the database makes of a row's key, custom_id and status."""


class Digests(NamedTuple):
    """How many rows a table has, and the sum of their digests modulo 2**64: of one run's rows, and of all others."""

    own: Fingerprint
    others: Fingerprint

    @property
    def all_rows(self) -> Fingerprint:
        """That of all rows of the table."""
        return self.own.joined_with(self.others)


class SqlTable(ABC):
    """A table behind a DB-API connection. Each public call is one transaction.

    add_columns: columns that the table lacks are added to it; else they are an error that says how.
    """

    def __init__(self, connection: Any, table: str, key: Sequence[str], *, add_columns: bool = False) -> None:
        self.name = table
        self.key = tuple(key)
        self.parts = table.split(".")
        if len(self.parts) > _MAX_PARTS:
            raise ConfigError(f"table {table}: name it as table or as schema.table")
        self.quoted = ".".join(map(quote, self.parts))
        self.add_columns = add_columns
        self.removed = NO_ROWS
        """Digests of what `leave_only` removed, where the database makes some."""
        self._connection = connection
        self._driver = importlib.import_module(type(connection).__module__.partition(".")[0])

    def prepare(self, schema: pa.Schema, *, create: bool = True) -> None:
        """Make the table if it is missing; raise ConfigError if it cannot take these columns by this key and type.

        create: False only looks.
        """
        self.check_names([*self.parts, *schema.names])
        with self._transaction() as cursor:
            self.lock(cursor)
            existing = self.columns(cursor)
            if existing:
                additions = check_table(self, existing, self.unique_keys(cursor), schema)
                for statement in additions if create else ():
                    self.run(cursor, statement)
            elif create:
                self.run(cursor, self.create_statement(schema))

    def write(self, rows: Iterable[pa.Table]) -> int:
        """Upsert the rows by key, some after the others, all in one transaction; how many were written."""
        given = 0

        def counted() -> Iterator[pa.Table]:
            nonlocal given
            for some in rows:
                given += some.num_rows
                yield some

        with self._transaction() as cursor:
            try:
                written = self.upsert(cursor, counted())
            except (self._driver.DataError, self._driver.IntegrityError) as error:
                # SQLAlchemy's own words would show the row.
                reason = " ".join(str(getattr(error, "orig", error)).split())
                raise ConfigError(
                    f"table {self.name} does not take the answers: {reason}. Nothing of this shard was "
                    "written; its answers are safe in staging. Mend the table (or name another one) and write them "
                    "again, at no cost"
                ) from error
            if written != given:
                # An older run's row would stand in its place, and look as if a later one had written it.
                raise ConfigError(
                    f"table {self.name} took {written:,} of {given:,} rows: a trigger or rule keeps some out. "
                    "Nothing of this shard was written; its answers are safe in staging. Mend the table and write them "
                    "again, at no cost"
                )
            return written

    def batches(self, run_id: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """All rows that a run has written, some thousand at a time; none if there is no table.

        In these columns, with these types where the values fit them, else as text.
        """
        with self._transaction() as cursor:
            if self.columns(cursor):
                yield from self.read(cursor, run_id, schema)

    def digests(self, run_id: str) -> Digests | None:
        """Digests of all rows, and which part of them is the run's; None where this database makes none.

        A table that is not there has no rows.
        """
        return None

    def find(self, keys: pa.Table, *, digests: bool = False) -> pa.Table:
        """The rows that have these keys, whatever run wrote them: place among the keys, key, custom_id, status, run_id.

        The database compares, and takes each key as it would to write it: what it pads or rounds is found all the same.
        digests: with a column DIGEST, of a database that makes them.
        """
        schema = found_schema(keys.schema)
        if digests:
            schema = schema.append(pa.field(DIGEST, pa.int64()))
        with self._transaction() as cursor:
            return self.look_up(cursor, keys, schema) if self.columns(cursor) else schema.empty_table()

    def is_there(self, names: Iterable[str]) -> bool:
        """Whether there is a table that has these columns, and rows by this key."""
        with self._transaction() as cursor:
            has_columns = {column.name for column in self.columns(cursor)}.issuperset(names)
            return has_columns and set(self.key) in self.unique_keys(cursor)

    def leave_only(self, keys: Iterable[pa.Table], *, asked: pa.Table | None = None, remove: bool) -> LeftRows:
        """The rows whose keys are not among these; they are removed if that is wanted. Holds none of the keys.

        asked: values of other columns; rows that have none of them are counted alone.
        """
        with self._transaction() as cursor:
            others = f"FROM {self.quoted} AS t WHERE NOT {self._is_among(cursor, KEYS, keys)}"
            not_asked = 0
            if asked is not None:
                is_asked = self._is_among(cursor, ASKED, [asked])
                cursor.execute(f"SELECT count(*) FROM {self.quoted} AS t WHERE NOT {is_asked}")  # noqa: S608 - quoted
                not_asked = int(cursor.fetchone()[0])
                others += f" AND {is_asked}"
            cursor.execute(f"SELECT count(*) {others}")
            count = int(cursor.fetchone()[0])
            cursor.execute(f"SELECT {', '.join(f't.{quote(name)}' for name in self.key)} {others} LIMIT {SHOWN}")
            named = Named(map(Named.text, cursor.fetchall()))
            named.count = count
            if remove and count:
                self.removed = self.removed.joined_with(self.digest_of(cursor, others))
                cursor.execute(f"DELETE {others}")
            return LeftRows(count, str(named), removed=remove and count > 0, not_asked=not_asked)

    def _is_among(self, cursor: Any, name: str, keys: Iterable[pa.Table]) -> str:
        """The condition that a row t has one of these keys, which go into a temporary table of this name."""
        names = map(quote, self.gather(cursor, name, keys))
        same = " AND ".join(f"t.{column} = k.{column}" for column in names)
        return f"EXISTS (SELECT 1 FROM {name} AS k WHERE {same})"  # noqa: S608 - quoted

    def digest_of(self, cursor: Any, rows: str) -> Fingerprint:
        """The digest of the rows t that `FROM … AS t …` gives, where this database makes digests."""
        return NO_ROWS

    @abstractmethod
    def gather(self, cursor: Any, name: str, keys: Iterable[pa.Table]) -> list[str]:
        """Put keys into a temporary table of this name; the names of their columns."""

    def run(self, cursor: Any, statement: str) -> None:
        """Run a statement that defines something."""
        cursor.execute(statement)

    def quote(self, name: str) -> str:
        """A name, quoted as this database wants it."""
        return quote(name)

    @abstractmethod
    def check_names(self, names: Sequence[str]) -> None:
        """Raise ConfigError for a name that this database would not keep as it is."""

    @abstractmethod
    def upsert(self, cursor: Any, rows: Iterable[pa.Table]) -> int:
        """Upsert the rows by key; how many were written. Holds some of them."""

    @abstractmethod
    def read(self, cursor: Any, run_id: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """What `batches` gives, of a table that is there."""

    @abstractmethod
    def look_up(self, cursor: Any, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """What `find` gives, of a table that is there, with each value as `read` gives it."""

    @abstractmethod
    def type_of(self, field: pa.Field) -> str:
        """The column type for a field."""

    def fit(self, field: pa.Field, column: Column) -> Fit:
        """Whether a column that is there takes a field's values; by default, whatever it is."""
        return Fit.ALWAYS

    @abstractmethod
    def columns(self, cursor: Any) -> list[Column]:
        """The table's columns, none if there is no such table."""

    @abstractmethod
    def unique_keys(self, cursor: Any) -> list[set[str]]:
        """The columns of each unique index that an upsert can go by."""

    @abstractmethod
    def lock(self, cursor: Any) -> None:
        """Let only one worker make or write the table."""

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        # Not `with connection:`, which closes a psycopg connection and leaves the others open.
        try:
            yield self._connection.cursor()
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    @property
    def quoted_key(self) -> str:
        """The key's columns, quoted, with commas."""
        return ", ".join(map(self.quote, self.key))

    def upsert_tail(self, columns: Sequence[str]) -> str:
        """What follows the rows of an INSERT."""
        updates = ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns if c not in self.key)
        return f"ON CONFLICT ({self.quoted_key}) DO UPDATE SET {updates}"

    def create_statement(self, schema: pa.Schema) -> str:
        """The statement that makes the table."""
        not_null = {*self.key, "status", "run_id"}
        columns = [
            f"{quote(field.name)} {self.type_of(field)}{' NOT NULL' if field.name in not_null else ''}"
            for field in schema
        ]
        return f"CREATE TABLE {self.quoted} ({', '.join(columns)}, PRIMARY KEY ({self.quoted_key}))"
