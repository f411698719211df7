"""Any other database as a target, through its SQLAlchemy dialect: an UPDATE, then an INSERT of missing rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.tables.key_values import KeyValues
from greennode_batch.tables.sql_dialect import PLACE, Dialect, Upserted
from greennode_batch.tables.sqlalchemy_types import MYSQL, column_values, generic_bounds, generic_type
from greennode_batch.tables.sqlite import COLLATIONS
from greennode_batch.tables.standing_rows import stands
from greennode_batch.tables.table_columns import GENERATED, IDENTITY, Column, limit_of
from greennode_batch.tables.typed_rows import from_tuples

_INTEGERS = {"BIGINT": 1 << 63, "INTEGER": 1 << 31}
_WIDER = 255
_CHUNK_ROWS = 5_000
_READ_ROWS = 10_000
# Per statement. Some databases allow at most 2,100 parameters, and a key may have several columns.
_LOOKED_UP_KEYS = 100


class SqlAlchemyDialect(Dialect):
    """A database behind an SQLAlchemy engine. Columns that the job does not write keep their values.

    Text in the key of a new table has at most 255 characters. The key is assumed to be unique, because some databases
    have no unique indexes. No lock works in every database: if two workers create the table at once, one fails, and
    finds the table when it tries again.
    """

    def __init__(self, engine: sa.Engine, name: str, key: Sequence[str]) -> None:
        self._sql = engine.dialect
        super().__init__(engine, name, key)
        engine.hide_parameters = True  # otherwise an error would show rows
        self.driver = sa.exc
        self.error = sa.exc.StatementError
        self._seen: WeakKeyDictionary[sa.Connection, sa.Table] = WeakKeyDictionary()

    @contextmanager
    def transaction(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        """Run one transaction on a connection of the engine."""
        with self._connection.begin() as tx:
            self._be_strict(tx)
            yield tx

    @contextmanager
    def trial(self, *, writes: bool = True) -> Iterator[sa.Connection]:
        """Run a transaction on a connection of the engine, and roll it back."""
        with self._connection.connect() as tx:
            # Closed with its temporary tables, which some drivers make outside the transaction.
            tx.detach()
            self._be_strict(tx)
            try:
                yield tx
            finally:
                tx.rollback()

    def _be_strict(self, tx: sa.Connection) -> None:
        """Let MySQL refuse a value that a column does not hold, also where its settings have it cut the value."""
        if self._sql.name in MYSQL:
            tx.exec_driver_sql("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")

    @property
    def user(self) -> str:
        """The user of the engine's URL."""
        return self._connection.url.username or ""

    def run(self, tx: sa.Connection, statement: str, *parameters: Any) -> Any:
        """Run a statement in the driver's own syntax."""
        return tx.exec_driver_sql(statement, *parameters)

    def quote(self, name: str) -> str:
        """Quote a name if this database requires it."""
        return self._sql.identifier_preparer.quote(name)

    def type_of(self, field: pa.Field) -> str:
        """The type of a new column for a field."""
        return generic_type(field, is_key=field.name in self.key).compile(dialect=self._sql)

    def columns(self, tx: sa.Connection) -> list[Column]:
        """The table's columns; empty if the table does not exist."""
        if not sa.inspect(tx).has_table(self.parts[-1], schema=self._schema):
            return []
        return [
            Column(
                c.name,
                not (c.nullable or c.server_default or c.autoincrement is True),
                str(c.type),
                is_not_null=not c.nullable,
                generated=GENERATED if c.computed else IDENTITY if c.identity and c.identity.always else "",
                limit=limit_of(self.name, c.name, str(c.type), generic_bounds(c.type, self._sql.name)),
            )
            for c in self._reflected(tx).c
        ]

    def unique_keys(self, tx: sa.Connection) -> list[set[str]]:
        """The key, which is assumed to be unique."""
        return [set(self.key)]

    def unique_indexes(self, tx: sa.Connection) -> list[tuple[str, set[str]]]:
        """Each unique index and constraint that the database lists: its name and its columns."""
        inspector, table = sa.inspect(tx), self.parts[-1]
        primary = inspector.get_pk_constraint(table, schema=self._schema)
        unique = inspector.get_unique_constraints(table, schema=self._schema)
        found: list[tuple[str | None, Sequence[str | None]]] = [
            (primary["name"], primary["constrained_columns"]),
            *((one["name"], one["column_names"]) for one in unique),
            *(
                (one["name"], one["column_names"])
                for one in inspector.get_indexes(table, schema=self._schema)
                if one["unique"]
            ),
        ]
        return [(str(name), {column for column in columns if column}) for name, columns in found]

    def create_statement(self, schema: pa.Schema) -> str:
        """The statement that creates the table."""
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
        """Upsert the rows by key, in the way that the database compares keys."""
        table = self._reflected(tx)
        is_counted = self._sql.supports_sane_multi_rowcount
        written = standing = 0
        for some in rows:
            marks = self._marks(table, some.column_names)
            same, stay = self._same(table, marks), self._stay(marks)
            statements = self._upsert_statements(table, marks)
            for start in range(0, some.num_rows, _CHUNK_ROWS):
                values = self._values(table, some.slice(start, _CHUNK_ROWS))
                counts = [tx.execute(statement, values).rowcount for statement in statements]
                # If a driver does not count rows, rows that a trigger rejects go unnoticed.
                is_counted = is_counted and min(counts) >= 0
                taken = sum(counts) if is_counted else len(values)
                written += taken
                if taken < len(values) and stay is not None:
                    count = sa.select(sa.func.count()).select_from(table).where(same, stay)
                    standing += sum(tx.execute(count, one).scalar_one() for one in values)
        return Upserted(written, standing)

    def try_upsert(self, tx: sa.Connection, names: Sequence[str]) -> None:
        """Run both statements of the upsert on no rows."""
        table = self._reflected(tx)
        marks = self._marks(table, names)
        for statement in self._upsert_statements(table, marks, sa.false()):
            tx.execute(statement, {mark.key: None for mark in marks.values()})

    def _same(self, table: sa.Table, marks: dict[str, sa.BindParameter[Any]]) -> sa.ColumnElement[bool]:
        return sa.and_(*(self._equal(table.c[name], marks[name]) for name in self.key))

    def _equal(self, column: sa.Column[Any], value: sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
        """The condition that a column has a value, in the form that the column would store."""
        kind = column.type
        if self._sql.name == "sqlite":
            return column == value  # it stores values as they are
        if isinstance(kind, sa.CHAR):
            # Wider than the column, for a cast cuts.
            return column == sa.cast(value, sa.CHAR((kind.length or 0) + _WIDER))
        # A cast rounds as the column does. MySQL has none to a float.
        is_float = isinstance(kind, sa.Float)
        is_rounded = isinstance(kind, sa.Numeric | sa.DateTime) and not (is_float and self._sql.name in MYSQL)
        return column == (sa.cast(value, kind) if is_rounded else value)

    def _upsert_statements(
        self, table: sa.Table, marks: dict[str, sa.BindParameter[Any]], *conditions: sa.ColumnElement[bool]
    ) -> tuple[sa.Update, sa.Insert]:
        """The UPDATE and the INSERT of an upsert. conditions: what else a row must meet."""
        same, stay = self._same(table, marks), self._stay(marks)
        others = {table.c[name]: mark for name, mark in marks.items() if name not in self.key}
        absent = sa.select(*marks.values()).where(~sa.exists().where(same).select_from(table), *conditions)
        is_free = [] if stay is None else [sa.case((stay, 0), else_=1) == 1]
        return (
            sa.update(table).where(same, *is_free, *conditions).values(others),
            sa.insert(table).from_select([table.c[name] for name in marks], absent, include_defaults=False),
        )

    def read(self, tx: sa.Connection, run_id: str, schema: pa.Schema, job_id: str | None = None) -> Iterator[pa.Table]:
        """Yield the run's rows, in batches of thousands if the driver can."""
        table = self._reflected(tx)
        query = sa.select(*(table.c[name] for name in schema.names)).where(table.c["run_id"] == run_id)
        if job_id is not None:
            query = query.where(table.c[JOB_ID] == job_id)
        found = tx.execution_options(stream_results=True, yield_per=_READ_ROWS).execute(query)
        for rows in found.partitions():
            yield from_tuples(rows, schema)

    def look_up(self, tx: sa.Connection, keys: pa.Table, schema: pa.Schema) -> pa.Table:
        """Look up the rows with these keys, a hundred at a time: not every database has temporary tables."""
        table = self._reflected(tx)
        columns = [table.c[name] for name in keys.column_names]
        requested = list(enumerate(self._values(table, keys)))
        found: list[Sequence[Any]] = []
        for start in range(0, len(requested), _LOOKED_UP_KEYS):
            # Literals instead of named parameters: a column may have any name.
            selects = [
                sa.select(
                    sa.literal(index, sa.Integer).label("index"), *(table.c[name] for name in schema.names[1:])
                ).where(
                    *(self._equal(c, sa.literal(value, c.type)) for c, value in zip(columns, key.values(), strict=True))
                )
                for index, key in requested[start : start + _LOOKED_UP_KEYS]
            ]
            found += tx.execute(sa.union_all(*selects)).fetchall()
        return from_tuples(found, schema)

    def take_over(self, tx: sa.Connection, keys: pa.Table, job_id: str) -> None:
        """Make the job the owner of rows without one, row by row: not every database has temporary tables."""
        table = self._reflected(tx)
        marks = self._marks(table, keys.column_names)
        same = (self._equal(table.c[name], mark) for name, mark in marks.items())
        update = sa.update(table).where(*same, table.c[JOB_ID].is_(None)).values({table.c[JOB_ID]: job_id})
        if values := self._values(table, keys):
            tx.execute(update, values)

    def keeps_apart(self, column: Column | None, values: KeyValues) -> bool:
        """Whether it is certain that a key column holds each of these values, and keeps different ones apart.

        Of texts that is unknown, because many databases compare them without their case or accents.
        """
        if column is None or not values.kinds:
            return True
        most = _INTEGERS.get(column.type, 0)
        return values.kinds == {"int"} and -most <= values.least and values.greatest < most

    def collations(self, tx: sa.Connection) -> dict[str, str]:
        """The collations of key columns that a temporary table does not take over from the target."""
        if self._sql.name != "sqlite":
            return {}
        place = {"table": self.parts[-1], "schema": self._schema or "main"}
        found = tx.execute(sa.text(COLLATIONS), place)
        return {name: f" COLLATE {self.quote(collation)}" for name, collation in found if name in self.key}

    @contextmanager
    def staged(self, tx: sa.Connection, name: str, pieces: Iterable[pa.Table]) -> Iterator[list[str]]:
        """Put rows into a temporary table. Raises ConfigError if the database rejects the statement for one."""
        try:
            with super().staged(tx, name, pieces) as names:
                yield names
        except sa.exc.DBAPIError as error:
            raise ConfigError(
                f"table {self.name}: cannot look for orphaned rows, because the database accepts no temporary table "
                f"({error.orig}). Nothing was sent. Set orphaned_rows='ignore' on the job"
            ) from error

    def insert(self, tx: sa.Connection, staged: str, rows: pa.Table) -> None:
        """Insert rows into a temporary table."""
        table = self._reflected(tx)
        kept = sa.table(staged, *map(sa.column, rows.column_names))
        if values := self._values(table, rows):
            tx.execute(sa.insert(kept).values(self._marks(table, rows.column_names)), values)

    def _stay(self, marks: dict[str, sa.BindParameter[Any]]) -> sa.TextClause | None:
        """The condition under which an existing row stays. marks: the parameters of the new row."""
        used: dict[str, sa.BindParameter[Any]] = {}

        def new(name: str) -> str:
            used[name] = marks[name]
            return f":{marks[name].key}"

        words = stands(marks, self.quote, new)
        return None if words is None else sa.text(words).bindparams(*used.values())

    def _marks(self, table: sa.Table, names: Iterable[str]) -> dict[str, sa.BindParameter[Any]]:
        """Parameters with generated names, because a column may have any name."""
        return {name: sa.bindparam(f"p{index}", type_=_type_in(table, name)) for index, name in enumerate(names)}

    def _values(self, table: sa.Table, rows: pa.Table) -> list[dict[str, Any]]:
        """The values of these parameters in each row."""
        columns = (column_values(rows, name, _type_in(table, name), self._sql.name) for name in rows.column_names)
        return [{f"p{index}": value for index, value in enumerate(row)} for row in zip(*columns, strict=True)]

    def _reflected(self, tx: sa.Connection) -> sa.Table:
        if tx not in self._seen:
            name, schema = self.parts[-1], self._schema
            self._seen[tx] = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=tx, resolve_fks=False)
        return self._seen[tx]

    @property
    def _schema(self) -> str | None:
        return self.parts[0] if len(self.parts) > 1 else None


def _type_in(table: sa.Table, name: str) -> TypeEngine[Any]:
    return sa.BigInteger() if name == PLACE else table.c[name].type
