"""Any other database as a target, by its SQLAlchemy dialect: an UPDATE and an INSERT of what is not there yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.tables.sql_dialect import Dialect, Upserted
from greennode_batch.tables.sqlalchemy_types import column_values, generic_type
from greennode_batch.tables.standing_rows import stands
from greennode_batch.tables.table_columns import Column
from greennode_batch.tables.typed_rows import from_tuples

_CHUNK_ROWS = 5_000
_READ_ROWS = 10_000
# Of one statement. Some databases take 2,100 parameters at most, and a key may have several columns.
_LOOKED_UP_KEYS = 100


class SqlAlchemyDialect(Dialect):
    """A database by way of an engine of SQLAlchemy. What its columns hold stays, as far as the job does not write it.

    Text in a key that is made here is 255 letters long at most. The key is taken for unique: some databases know no
    unique index. No lock is the same everywhere: of two workers who make one table, one fails, and finds it made next
    time.
    """

    def __init__(self, engine: sa.Engine, name: str, key: Sequence[str]) -> None:
        self._sql = engine.dialect
        super().__init__(engine, name, key)
        engine.hide_parameters = True  # an error would show rows
        self.driver = sa.exc
        self._seen: WeakKeyDictionary[sa.Connection, sa.Table] = WeakKeyDictionary()

    @contextmanager
    def transaction(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        """A transaction of a connection of the engine's."""
        with self._connection.begin() as tx:
            yield tx

    def run(self, tx: sa.Connection, statement: str, *parameters: Any) -> Any:
        """Run a statement as the driver takes it."""
        return tx.exec_driver_sql(statement, *parameters)

    def quote(self, name: str) -> str:
        """A name, quoted as this database wants it, which may be not at all."""
        return self._sql.identifier_preparer.quote(name)

    def type_of(self, field: pa.Field) -> str:
        """The type of a column that is made for a field."""
        return generic_type(field, is_key=field.name in self.key).compile(dialect=self._sql)

    def columns(self, tx: sa.Connection) -> list[Column]:
        """The table's columns, none if there is no such table."""
        if not sa.inspect(tx).has_table(self.parts[-1], schema=self._schema):
            return []
        return [
            Column(c.name, not (c.nullable or c.server_default or c.autoincrement is True), str(c.type))
            for c in self._reflected(tx).c
        ]

    def unique_keys(self, tx: sa.Connection) -> list[set[str]]:
        """The key itself."""
        return [set(self.key)]

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
        key = sa.PrimaryKeyConstraint(*self.key)
        table = sa.Table(self.parts[-1], sa.MetaData(), *columns, key, schema=self._schema)
        return str(CreateTable(table).compile(dialect=self._sql))

    def upsert(self, tx: sa.Connection, rows: Iterable[pa.Table]) -> Upserted:
        """Upsert the rows by key, as the database compares keys."""
        table = self._reflected(tx)
        is_counted = self._sql.supports_sane_multi_rowcount
        written = standing = 0
        for some in rows:
            marks = self._marks(table, some.column_names)
            same = sa.and_(*(table.c[name] == marks[name] for name in self.key))
            others = {table.c[name]: mark for name, mark in marks.items() if name not in self.key}
            absent = sa.select(*marks.values()).where(~sa.exists().where(same).select_from(table))
            stay = self._stay(marks)
            is_free = [] if stay is None else [sa.case((stay, 0), else_=1) == 1]
            update = sa.update(table).where(same, *is_free).values(others)
            insert = sa.insert(table).from_select([table.c[name] for name in marks], absent, include_defaults=False)
            for start in range(0, some.num_rows, _CHUNK_ROWS):
                values = self._values(table, some.slice(start, _CHUNK_ROWS))
                counts = [tx.execute(statement, values).rowcount for statement in (update, insert)]
                # Where a driver does not count, nothing shows what triggers keep out.
                is_counted = is_counted and min(counts) >= 0
                taken = sum(counts) if is_counted else len(values)
                written += taken
                if taken < len(values) and stay is not None:
                    count = sa.select(sa.func.count()).select_from(table).where(same, stay)
                    standing += sum(tx.execute(count, one).scalar_one() for one in values)
        return Upserted(written, standing)

    def read(self, tx: sa.Connection, run_id: str, schema: pa.Schema, job_id: str | None = None) -> Iterator[pa.Table]:
        """The run's rows, some thousand at a time where the driver can."""
        table = self._reflected(tx)
        query = sa.select(*(table.c[name] for name in schema.names)).where(table.c["run_id"] == run_id)
        if job_id is not None:
            query = query.where(table.c[JOB_ID] == job_id)
        found = tx.execution_options(stream_results=True, yield_per=_READ_ROWS).execute(query)
        for rows in found.partitions():
            yield from_tuples(rows, schema)

    def look_up(self, tx: sa.Connection, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """The rows that have these keys, a hundred at a time: not every database takes temporary tables."""
        table = self._reflected(tx)
        columns = [table.c[name] for name in keys.column_names]
        requested = list(enumerate(self._values(table, keys)))
        found: list[Sequence[Any]] = []
        for start in range(0, len(requested), _LOOKED_UP_KEYS):
            # No name of a column is part of a parameter's.
            selects = [
                sa.select(
                    sa.literal(index, sa.Integer).label("index"), *(table.c[name] for name in schema.names[1:])
                ).where(*(c == sa.literal(value, c.type) for c, value in zip(columns, key.values(), strict=True)))
                for index, key in requested[start : start + _LOOKED_UP_KEYS]
            ]
            found += tx.execute(sa.union_all(*selects)).fetchall()
        return from_tuples(found, schema)

    def take_over(self, tx: sa.Connection, keys: pa.Table, job_id: str) -> None:
        """Make rows the job's, one after the other: not every database takes temporary tables."""
        table = self._reflected(tx)
        marks = self._marks(table, keys.column_names)
        same = (table.c[name] == mark for name, mark in marks.items())
        update = sa.update(table).where(*same, table.c[JOB_ID].is_(None)).values({table.c[JOB_ID]: job_id})
        if values := self._values(table, keys):
            tx.execute(update, values)

    @contextmanager
    def staged(self, tx: sa.Connection, name: str, pieces: Iterable[pa.Table]) -> Iterator[list[str]]:
        """Rows in a temporary table, which not every database makes by the same words."""
        try:
            with super().staged(tx, name, pieces) as names:
                yield names
        except sa.exc.DBAPIError as error:
            raise ConfigError(
                f"table {self.name}: rows that are not in the source cannot be looked for there, for it takes no "
                f"temporary table ({error.orig}). Set orphaned_rows='ignore' on the job. Nothing was sent"
            ) from error

    def insert(self, tx: sa.Connection, staged: str, rows: pa.Table) -> None:
        """Put rows into a temporary table."""
        table = self._reflected(tx)
        kept = sa.table(staged, *map(sa.column, rows.column_names))
        if values := self._values(table, rows):
            tx.execute(sa.insert(kept).values(self._marks(table, rows.column_names)), values)

    def _stay(self, marks: dict[str, sa.BindParameter[Any]]) -> sa.TextClause | None:
        """The condition that a row of the table stays, with these parameters for the new row."""
        used: dict[str, sa.BindParameter[Any]] = {}

        def new(name: str) -> str:
            used[name] = marks[name]
            return f":{marks[name].key}"

        words = stands(marks, self.quote, new)
        return None if words is None else sa.text(words).bindparams(*used.values())

    def _marks(self, table: sa.Table, names: Iterable[str]) -> dict[str, sa.BindParameter[Any]]:
        """Parameters with names of their own, for a column may be called anything."""
        return {name: sa.bindparam(f"p{index}", type_=table.c[name].type) for index, name in enumerate(names)}

    def _values(self, table: sa.Table, rows: pa.Table) -> list[dict[str, Any]]:
        """What these parameters are in each row."""
        columns = (column_values(rows, name, table.c[name].type, self._sql.name) for name in rows.column_names)
        return [{f"p{index}": value for index, value in enumerate(row)} for row in zip(*columns, strict=True)]

    def _reflected(self, tx: sa.Connection) -> sa.Table:
        if tx not in self._seen:
            name, schema = self.parts[-1], self._schema
            self._seen[tx] = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=tx, resolve_fks=False)
        return self._seen[tx]

    @property
    def _schema(self) -> str | None:
        return self.parts[0] if len(self.parts) > 1 else None
