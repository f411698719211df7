"""A database of each kind, as a target opens it, and small rows to write."""

import sqlite3
from contextlib import closing

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from greennode_batch.tables.open_table import sql_table

OWN = ["psycopg", "sqlite3"]
# Parameters are written in as many ways as a driver may want them.
ENGINES = ["postgresql+psycopg", "postgresql+psycopg2", "sqlite:qmark", "sqlite:named", "sqlite:numeric"]


class Database:
    """opened: a DB-API connection or an engine. It is asked and changed here beside the target."""

    schema = pa.schema([("id", pa.int64()), *((name, pa.string()) for name in ("answer", "status", "run_id"))])

    def __init__(self, opened):
        self.opened = opened
        self.is_engine = isinstance(opened, sa.Engine)
        self.is_sqlite = "sqlite" in (opened.dialect.name if self.is_engine else type(opened).__module__)

    def run(self, *statements):
        with closing(self._connect()) as connection:
            for statement in statements:
                connection.cursor().execute(statement)
            connection.commit()

    def fetch(self, statement):
        with closing(self._connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = [tuple(row) for row in cursor.fetchall()]
            connection.rollback()
            return rows

    def _connect(self):
        return self.opened.raw_connection() if self.is_engine else _Kept(self.opened)

    def rows_of(self, *answers, run_id="r"):
        count = len(answers)
        return pa.table([range(1, count + 1), answers, ["succeeded"] * count, [run_id] * count], schema=self.schema)

    def table(self, name="answers", key=("id",), **options):
        return sql_table(self.opened, name, key, **options)

    def written(self, rows, name="answers", key=("id",), **options):
        table = self.table(name, key, **options)
        table.prepare(rows.schema)
        assert table.write([rows]) == (rows.num_rows, 0)
        return table

    def read(self, table, run_id, *names):
        schema = pa.schema([(name, pa.int64() if name == "id" else pa.string()) for name in names])
        rows = [row for piece in table.batches(run_id, schema) for row in piece.to_pylist()]
        return sorted(tuple(row[name] for name in names) for row in rows)


class _Kept:
    """A connection that stays open."""

    def __init__(self, connection):
        self.cursor, self.commit, self.rollback = connection.cursor, connection.commit, connection.rollback

    def close(self):
        self.rollback()


@pytest.fixture
def open_database(request, tmp_path):
    """Opens a database by its kind, which is closed in the end."""

    def opened(kind):
        driver, _, style = kind.partition(":")
        if driver == "sqlite3":
            made = sqlite3.connect(tmp_path / "target.db")
        elif driver == "psycopg":
            made = psycopg.connect(request.getfixturevalue("database"))
        elif driver == "sqlite":
            made = sa.create_engine(f"sqlite:///{tmp_path}/target.db", paramstyle=style)
        else:
            made = sa.create_engine(request.getfixturevalue("database").replace("postgresql", driver, 1))
        request.addfinalizer(made.dispose if isinstance(made, sa.Engine) else made.close)
        return Database(made)

    return opened


@pytest.fixture(params=[*OWN, *ENGINES])
def db(request, open_database):
    """A database of each kind."""
    return open_database(request.param)


@pytest.fixture(params=OWN)
def own(request, open_database):
    """A database that has a fast way of its own."""
    return open_database(request.param)


@pytest.fixture(params=ENGINES)
def generic(request, open_database):
    """A database by way of SQLAlchemy."""
    return open_database(request.param)


@pytest.fixture
def on_postgres(open_database):
    return open_database("psycopg")
