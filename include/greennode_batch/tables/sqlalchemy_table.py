"""Any other database as a target, by its SQLAlchemy dialect: an UPDATE and an INSERT of what is not there yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from greennode_batch.errors import ConfigError
from greennode_batch.state.plan import LeftRows
from greennode_batch.tables.columns import Column
from greennode_batch.tables.shown_keys import SHOWN, Named
from greennode_batch.tables.sql_table import ASKED, KEYS, SqlTable
from greennode_batch.tables.sqlalchemy_types import column_values, generic_type
from greennode_batch.tables.typed_rows import from_tuples

_CHUNK_ROWS = 5_000
_READ_ROWS = 10_000
# Of one statement. Some databases take 2,100 parameters at most, and a key may have several columns.
_LOOKED_UP_KEYS = 100
# A temporary table.


class GenericTable(SqlTable):
    """A table by way of an engine of SQLAlchemy. What its columns hold stays, as far as the job does not write it.

    Text in a key that is made here is 255 letters long at most. The key is taken for unique: some databases know no
    unique index.
    """

    def __init__(self, engine: sa.Engine, table: str, key: Sequence[str], *, add_columns: bool = False) -> None:
        super().__init__(engine, table, key, add_columns=add_columns)
        engine.hide_parameters = True  # an error would show rows
        self._engine = engine
        self._driver = sa.exc
        self._preparer = engine.dialect.identifier_preparer
        self.quoted = self._preparer.format_table(self._bare())

    def check_names(self, names: Sequence[str]) -> None:
        """Each database says so itself, when the table is made."""

    def upsert(self, cursor: sa.Connection, rows: Iterable[pa.Table]) -> int:
        """Upsert the rows by key, as the database compares keys; how many were written."""
        table = self._reflected(cursor)
        given = 0
        counts: list[int] = []
        for some in rows:
            given += some.num_rows
            statements = self._upsert_statements(table, some.column_names)
            for start in range(0, some.num_rows, _CHUNK_ROWS):
                chunk = some.slice(start, _CHUNK_ROWS)
                columns = [column_values(chunk, c, table.c[c].type, cursor.dialect.name) for c in chunk.column_names]
                values = [{f"p{place}": value for place, value in enumerate(row)} for row in zip(*columns, strict=True)]
                counts += [cursor.execute(statement, values).rowcount for statement in statements]
        # Where a driver does not count, nothing tells of triggers.
        is_counted = cursor.dialect.supports_sane_multi_rowcount and min(counts, default=0) >= 0
        return sum(counts) if is_counted else given

    def _upsert_statements(self, table: sa.Table, names: Sequence[str]) -> tuple[sa.Update, sa.Insert]:
        # Parameters have names of their own, for a column may be called anything.
        marks = {name: sa.bindparam(f"p{place}", type_=table.c[name].type) for place, name in enumerate(names)}
        same = sa.and_(*(table.c[name] == marks[name] for name in self.key))
        others = {name: mark for name, mark in marks.items() if name not in self.key}
        update = sa.update(table).where(same).values({table.c[name]: mark for name, mark in others.items()})
        absent = sa.select(*marks.values()).where(~sa.exists().where(same).select_from(table))
        insert = sa.insert(table).from_select([table.c[name] for name in marks], absent, include_defaults=False)
        return update, insert

    def read(self, cursor: sa.Connection, run_id: str, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows, some thousand at a time where the driver can."""
        table = self._reflected(cursor)
        query = sa.select(*(table.c[name] for name in schema.names)).where(table.c["run_id"] == run_id)
        result = cursor.execution_options(stream_results=True, yield_per=_READ_ROWS).execute(query)
        for rows in result.partitions():
            yield from_tuples([tuple(row) for row in rows], schema)

    def look_up(self, cursor: sa.Connection, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """The rows that have these keys, a hundred at a time."""
        table = self._reflected(cursor)
        columns = [column_values(keys, name, table.c[name].type, cursor.dialect.name) for name in keys.column_names]
        asked = list(enumerate(zip(*columns, strict=True)))
        found: list[Sequence[Any]] = []
        for start in range(0, len(asked), _LOOKED_UP_KEYS):
            selects = [
                sa.select(
                    sa.literal(place, sa.Integer).label("place"), *(table.c[name] for name in schema.names[1:])
                ).where(*(table.c[name] == value for name, value in zip(keys.column_names, key, strict=True)))
                for place, key in asked[start : start + _LOOKED_UP_KEYS]
            ]
            found += [tuple(row) for row in cursor.execute(sa.union_all(*selects))]
        return from_tuples(found, schema)

    def leave_only(self, keys: Iterable[pa.Table], *, asked: pa.Table | None = None, remove: bool) -> LeftRows:
        """The rows whose keys are not among these; they are removed if that is wanted. Holds none of the keys.

        asked: values of other columns; rows that have none of them are counted alone.
        """
        try:
            return self._leave_only(keys, asked, remove=remove)
        except sa.exc.DBAPIError as error:
            raise ConfigError(
                f"table {self.name}: rows that are not in the source cannot be looked for there, for it takes no "
                f"temporary table ({error.orig}). Set left_rows='ignore' on the job. Nothing was sent"
            ) from error

    def _leave_only(self, keys: Iterable[pa.Table], asked: pa.Table | None, *, remove: bool) -> LeftRows:
        with self._transaction() as cursor:
            table = self._reflected(cursor)
            made: list[sa.Table] = []

            def is_among(name: str, some: Iterable[pa.Table]) -> sa.Exists:
                kept = self._keys_table(table, name, self.gather(cursor, name, some))
                made.append(kept)
                same = sa.and_(*(table.c[column.name] == column for column in kept.c))
                return sa.exists().where(same).select_from(kept).correlate(table)

            def count_of(*conditions: sa.ColumnElement[bool]) -> int:
                counted = sa.select(sa.func.count()).select_from(table).where(*conditions)
                return int(cursor.execute(counted).scalar_one())

            others: list[sa.ColumnElement[bool]] = [~is_among(KEYS, keys)]
            not_asked = 0
            if asked is not None:
                is_asked = is_among(ASKED, [asked])
                not_asked = count_of(~is_asked)
                others.append(is_asked)
            count = count_of(*others)
            shown = cursor.execute(sa.select(*(table.c[name] for name in self.key)).where(*others).limit(SHOWN))
            named = Named(map(Named.text, map(tuple, shown)))
            named.count = count
            if remove and count:
                cursor.execute(sa.delete(table).where(*others))
            for temporary in made:
                temporary.drop(cursor)
            return LeftRows(count, str(named), removed=remove and count > 0, not_asked=not_asked)

    def gather(self, cursor: sa.Connection, name: str, keys: Iterable[pa.Table]) -> list[str]:
        """Put keys into a temporary table of this name; the names of their columns."""
        table = self._reflected(cursor)
        names: list[str] = []
        for some in keys:
            if not names:
                names = some.column_names
                kept = self._keys_table(table, name, names)
                kept.create(cursor)
            columns = [column_values(some, one, table.c[one].type, cursor.dialect.name) for one in names]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            if rows:
                cursor.execute(sa.insert(kept), rows)
        return names

    def type_of(self, field: pa.Field) -> str:
        """The column type for a field."""
        return generic_type(field, is_key=field.name in self.key).compile(dialect=self._engine.dialect)

    def columns(self, cursor: sa.Connection) -> list[Column]:
        """The table's columns, none if there is no such table."""
        inspector = sa.inspect(cursor)
        if not inspector.has_table(self.parts[-1], schema=self._schema):
            return []
        return [
            Column(column["name"], not _has_value(column), str(column["type"]))
            for column in inspector.get_columns(self.parts[-1], schema=self._schema)
        ]

    def unique_keys(self, cursor: sa.Connection) -> list[set[str]]:
        """The key itself: nothing here goes by an index."""
        return [set(self.key)]

    def lock(self, cursor: sa.Connection) -> None:
        """No lock is the same everywhere: of two workers who make one table, one fails, and finds it made next time."""

    def create_statement(self, schema: pa.Schema) -> str:
        """The statement that makes the table."""
        columns = [
            sa.Column(
                field.name,
                generic_type(field, is_key=field.name in self.key),
                nullable=field.name not in {*self.key, "status", "run_id"},
                autoincrement=False,
            )
            for field in schema
        ]
        table = self._bare(*columns, sa.PrimaryKeyConstraint(*self.key))
        return str(CreateTable(table).compile(dialect=self._engine.dialect))

    def run(self, cursor: sa.Connection, statement: str) -> None:
        """Run a statement that defines something."""
        cursor.exec_driver_sql(statement)

    def quote(self, name: str) -> str:
        """A name, quoted as this database wants it, which may be not at all."""
        return self._preparer.quote(name)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    def _keys_table(self, table: sa.Table, name: str, names: Sequence[str]) -> sa.Table:
        columns = (sa.Column(column, table.c[column].type) for column in names)
        return sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"])

    def _bare(self, *parts: Any) -> sa.Table:
        return sa.Table(self.parts[-1], sa.MetaData(), *parts, schema=self._schema)

    def _reflected(self, cursor: sa.Connection) -> sa.Table:
        return sa.Table(self.parts[-1], sa.MetaData(), schema=self._schema, autoload_with=cursor, resolve_fks=False)

    @property
    def _schema(self) -> str | None:
        return self.parts[0] if len(self.parts) > 1 else None


def _has_value(column: Any) -> bool:
    """Whether a row may be inserted without naming the column."""
    is_made = column.get("autoincrement") is True or column.get("identity") or column.get("computed")
    return bool(column["nullable"] or column.get("default") is not None or is_made)
