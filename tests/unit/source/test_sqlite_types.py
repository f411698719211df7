import sqlite3

import pyarrow as pa
import pytest

from greennode_batch.source.sql import read_sql
from greennode_batch.source.sqlite_types import sqlite_types


@pytest.fixture
def connection():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER, price DOUBLE, day DATE, note VARCHAR(9), size DECIMAL(12, 2), x)")
    yield connection
    connection.close()


def test_a_column_that_is_null_has_the_type_that_its_table_declares(connection):
    connection.execute("INSERT INTO t (id) VALUES (1)")
    sql = "WITH some AS (SELECT * FROM t) SELECT id, price AS cost, day, note, size, x, id + 1 AS next FROM some"
    (batch,) = read_sql(connection, sql).batches
    types = {name: batch.array(name).type for name in ("id", "cost", "day", "note", "size", "x", "next")}
    assert types == {
        "id": pa.int64(), "cost": pa.float64(), "day": pa.string(), "note": pa.string(), "size": pa.null(),
        "x": pa.null(), "next": pa.int64(),
    }  # fmt: skip


def test_a_value_of_another_type_keeps_it(connection):
    connection.execute("INSERT INTO t (id, price) VALUES (1, 'on request'), (2, 'free')")
    (batch,) = read_sql(connection, "SELECT price FROM t").batches
    assert batch.array("price").to_pylist() == ["on request", "free"]


@pytest.mark.parametrize("sql", ["SELECT id FROM t WHERE id = :id", "DELETE FROM t", "SELECT * FROM nowhere", "x"])
def test_a_query_that_makes_no_view_has_no_types_and_changes_nothing(connection, sql):
    connection.execute("INSERT INTO t (id) VALUES (1)")
    assert sqlite_types(connection, sql) == {}
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM temp.sqlite_master").fetchone() == (0,)
