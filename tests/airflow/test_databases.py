"""Which way a target's table is written, by what its connection is."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import BaseHook
from psycopg.conninfo import conninfo_to_dict

from greennode_airflow.runtime.databases import connect, open_table
from greennode_batch.errors import ConfigError
from greennode_batch.job.targets import SqlTarget
from greennode_batch.tables.postgres import PostgresDialect
from greennode_batch.tables.sqlalchemy_dialect import SqlAlchemyDialect

TARGET = SqlTarget(conn_id="warehouse", table="answers", add_columns=True)
ROWS = pa.table({"id": [1], "custom_id": ["c"], "status": ["succeeded"], "run_id": ["r"]})


class _OtherConnection:
    """A connection of a driver that has no fast way here."""

    def close(self) -> None:
        pass


class _OtherHook(DbApiHook):
    conn_name_attr = "conn_id"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def get_conn(self) -> Any:
        return _OtherConnection()

    def get_sqlalchemy_engine(self, engine_kwargs: dict[str, Any] | None = None) -> sa.Engine:
        return sa.create_engine(self._url)


@pytest.fixture
def use_hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda url: monkeypatch.setattr(BaseHook, "get_hook", lambda _: _OtherHook(url))


@pytest.fixture
def warehouse(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = conninfo_to_dict(database)
    connection = {
        "conn_type": "postgres",
        "host": parts["host"],
        "port": int(parts["port"]),
        "login": parts["user"],
        "password": parts["password"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))


def test_postgres_goes_its_own_fast_way(warehouse: None) -> None:
    with open_table(TARGET, ("id",)) as table:
        assert isinstance(table.dialect, PostgresDialect)
        assert table.add_columns


def test_no_statement_is_prepared_at_the_server_for_a_pooler_gives_the_next_one_another_session(
    warehouse: None,
) -> None:
    with open_table(TARGET, ("id",)) as table:
        table.prepare(ROWS.schema)
        for _ in range(10):
            table.write([ROWS])
            assert table.find(ROWS.select(["id"])).num_rows == 1
        with table.dialect.transaction() as tx:
            assert table.dialect.run(tx, "SELECT statement FROM pg_prepared_statements").fetchall() == []
    with closing(connect("warehouse")) as connection:
        for _ in range(20):
            connection.execute("SELECT %s::int", (1,))
        assert connection.execute("SELECT statement FROM pg_prepared_statements").fetchall() == []


def test_another_database_goes_by_its_engine(use_hook: Any, tmp_path: Path) -> None:
    use_hook(f"sqlite:///{tmp_path}/target.db")
    with open_table(TARGET, ("id",)) as table:
        assert isinstance(table.dialect, SqlAlchemyDialect)
        table.prepare(ROWS.schema)
        assert table.write([ROWS]) == (1, 0)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/target.db")
    with closing(engine.raw_connection()) as connection:
        assert connection.cursor().execute("SELECT id, status FROM answers").fetchall() == [(1, "succeeded")]
    engine.dispose()


def test_a_database_without_a_dialect_is_a_config_error(use_hook: Any) -> None:
    use_hook("nosuchdialect://host/db")
    with (
        pytest.raises(ConfigError, match="connection warehouse has no SQLAlchemy dialect"),
        open_table(TARGET, ("id",)),
    ):
        pass


def test_a_connection_of_a_type_that_is_not_installed_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({"conn_type": "nothing_of_the_kind", "host": "here"}))
    with pytest.raises(ConfigError, match=r'connection odd: Unknown hook type "nothing_of_the_kind": .*not installed'):
        connect("odd")
