import sqlite3

import psycopg
import pytest

from greennode_batch.build.source import read_sql
from greennode_batch.errors import ConfigError


def rows_of(source):
    columns = source.columns
    return [row for batch in source.batches for row in zip(*map(batch.values, columns), strict=True)]


@pytest.fixture
def sqlite():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER, text TEXT)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(number, f"row {number}") for number in range(25)])
    connection.commit()
    yield connection
    connection.close()


def test_postgres_rows_stay_on_the_server_until_they_are_asked_for(database):
    with psycopg.connect(database) as connection:
        source = read_sql(connection, "SELECT n AS id, repeat('x', 1000) AS text FROM generate_series(1, 200000) n")
        first = next(source.batches)
        held = connection.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE 'greennode_%'").fetchone()
        assert held == (1,)
        assert source.columns == ("id", "text")
        assert len(first) == 5_000
        assert sum(len(batch) for batch in source.batches) == 195_000


def test_a_connection_that_commits_by_itself_streams_as_well(database):
    with psycopg.connect(database, autocommit=True) as connection:
        assert rows_of(read_sql(connection, "SELECT 1 AS id, '50%' AS text")) == [(1, "50%")]


def test_sqlite_rows_come_in_batches(sqlite):
    source = read_sql(sqlite, "SELECT * FROM t ORDER BY id", batch_rows=10)
    assert [len(batch) for batch in source.batches] == [10, 10, 5]


def test_a_query_without_rows_still_has_columns(sqlite, database):
    with psycopg.connect(database) as connection:
        assert read_sql(connection, "SELECT 1 AS id WHERE false").columns == ("id",)
    source = read_sql(sqlite, "SELECT id FROM t WHERE 0")
    assert (source.columns, rows_of(source)) == (("id",), [])


@pytest.mark.parametrize("sql", ["SELECT 1 AS a, 2 AS b, 3 AS a", "SELECT id AS a, text AS b, id AS a FROM t"])
def test_a_column_name_that_comes_twice_is_refused(sqlite, sql):
    with pytest.raises(ConfigError, match=r"column\(s\) a twice"):
        read_sql(sqlite, sql)


def test_a_statement_that_is_no_select_is_refused_and_changes_nothing(sqlite, database):
    with pytest.raises(ConfigError, match=r"must be a SELECT. Nothing was sent"):
        read_sql(sqlite, "DELETE FROM t")
    assert sqlite.execute("SELECT count(*) FROM t").fetchone() == (25,)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE t (id int)")
        connection.commit()
        with pytest.raises(ConfigError, match=r"the source query failed: syntax error.*must be one SELECT"):
            read_sql(connection, "INSERT INTO t VALUES (1)")
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_wrong_query_says_what_the_database_said(sqlite, database):
    with pytest.raises(ConfigError, match="no such table: nowhere"):
        read_sql(sqlite, "SELECT * FROM nowhere")
    with psycopg.connect(database) as connection, pytest.raises(ConfigError, match='relation "nowhere" does not exist'):
        read_sql(connection, "SELECT * FROM nowhere")


def test_a_query_that_fails_on_a_later_row_is_a_config_error(database):
    with psycopg.connect(database) as connection:
        source = read_sql(connection, "SELECT 1 / (3 - n) FROM generate_series(1, 5) n", batch_rows=1)
        with pytest.raises(ConfigError, match="division by zero"):
            rows_of(source)
