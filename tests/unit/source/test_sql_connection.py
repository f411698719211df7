import json
import sqlite3
from contextlib import closing

import psycopg
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.source.sql import is_postgres, read_sql
from greennode_batch.source.sql_connection import connect_sql


@pytest.fixture
def lite(tmp_path):
    path = tmp_path / "a b.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1), (2);")
    return path


def ids(connection, table):
    with closing(connection):
        return [row for batch in read_sql(connection, f"SELECT id FROM {table}").batches for row in batch.values("id")]


def test_sqlite_is_reached_as_airflow_names_it(monkeypatch, lite):
    for said in (f"sqlite:///{lite}", f"sqlite:///{str(lite).replace(' ', '%20')}",
                 json.dumps({"conn_type": "sqlite", "host": str(lite)})):  # fmt: skip
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", said)
        assert ids(connect_sql("warehouse"), "t") == [1, 2]


def test_postgres_is_reached_by_its_own_driver(monkeypatch, postgres, database):
    parts = dict(word.split("=", 1) for word in postgres_words(database))
    fields = {
        "conn_type": "postgres", "host": parts["host"], "login": parts["user"], "password": parts.get("password"),
        "port": parts["port"], "schema": parts["dbname"],
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
    connection = connect_sql("warehouse")
    assert is_postgres(connection)
    assert ids(connection, "generate_series(1, 3) AS t (id)") == [1, 2, 3]


def postgres_words(dsn):
    return [f"{name}={value}" for name, value in psycopg.conninfo.conninfo_to_dict(dsn).items()]


def test_a_connection_that_is_not_there_says_where_it_goes(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_WAREHOUSE", raising=False)
    with pytest.raises(ConfigError, match=r"AIRFLOW_CONN_WAREHOUSE.*or name files with the rows by --in"):
        connect_sql("warehouse")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{", "no URI and no JSON object"),
        ("nothing of the kind", "no URI and no JSON object"),
        ("oddity://host/x", "no driver for it is installed here"),
        ("sqlite:////gone/away.db", r"/gone/away\.db: no such file"),
        ("postgres://me:secret-word@127.0.0.1:1/x", "connection refused|Connection refused"),
    ],
)
def test_one_that_cannot_be_used_is_named_without_its_password(monkeypatch, said, words):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", said)
    with pytest.raises(ConfigError, match=words) as refused:
        connect_sql("warehouse")
    assert "connection warehouse (AIRFLOW_CONN_WAREHOUSE)" in str(refused.value)
    assert "secret-word" not in str(refused.value)
