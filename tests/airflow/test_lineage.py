from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from airflow.sdk.io import attach
from psycopg.conninfo import conninfo_to_dict
from upath import UPath

from greennode_airflow.observability.lineage import of_read, of_report, of_write
from greennode_batch.errors import ConfigError
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

STAGING = UPath("/staging/own")


@pytest.fixture
def tables(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`warehouse` is a connection to PostgreSQL; what its tables' names begin with."""
    where = conninfo_to_dict(database)
    connection = {
        "conn_type": "postgres",
        "host": where["host"],
        "port": int(where["port"]),
        "login": where["user"],
        "password": where["password"],
        "schema": where["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    return f"postgres://{where['host']}:{where['port']} {where['dbname']}"


def a_query(sql: str, **fields: object) -> SqlSource:
    return SqlSource(conn_id="warehouse", sql=sql, **fields)


def inputs(lineage: object) -> dict[str, int | None]:
    return {
        f"{one.namespace} {one.name}": one.inputFacets["inputStatistics"].rowCount if one.inputFacets else None
        for one in lineage.inputs
    }


def test_a_querys_tables_are_found_and_of_several_it_is_not_said_how_many_rows_each_gave(tables: str) -> None:
    assert inputs(of_read(a_query("SELECT * FROM t"), 7, STAGING)) == {f"{tables}.public.t": 7}
    joined = a_query("SELECT * FROM t JOIN s.u USING (id) WHERE day = %(day)s AND u LIKE 'a%%'", parameters={"day": 1})
    assert inputs(of_read(joined, 7, STAGING)) == {f"{tables}.public.t": None, f"{tables}.s.u": None}


def test_tables_that_a_source_names_are_believed_before_the_query(tables: str) -> None:
    source = a_query("SELECT * FROM some_function()", tables=("t", "s.u"))
    assert inputs(of_read(source, 7, STAGING)) == {f"{tables}.public.t": None, f"{tables}.s.u": None}
    with pytest.raises(ConfigError, match="tables is 't'; it is a tuple of tables"):
        a_query("SELECT 1", tables="t")


def test_files_are_named_without_the_connection_that_opens_them() -> None:
    assert inputs(of_read(FileSource(path="s3://lake@bucket/day=1/"), 7, STAGING)) == {"s3://bucket day=1": 7}
    written = of_write([FileTarget(path="/data/answers")], 3, pa.schema({"id": pa.int64()}), STAGING)
    assert [(one.namespace, one.name) for one in (*written.inputs, *written.outputs)] == [
        ("file", "/staging/own"),
        ("file", "/data/answers"),
    ]


def test_files_in_azure_are_named_by_their_container_and_account() -> None:
    adlfs = pytest.importorskip("adlfs")
    attach("abfs", "lineage_lake", fs=adlfs.AzureBlobFileSystem(account_name="account", anon=True))
    read = of_read(FileSource(path="abfs://lineage_lake@container/rows/"), 7, STAGING)
    assert inputs(read) == {"abfss://container@account.dfs.core.windows.net rows": 7}


def test_a_table_of_a_connection_without_such_names_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "x.db")}))
    assert inputs(of_read(a_query("SELECT * FROM t"), 7, STAGING)) == {}
    assert inputs(of_report([SqlTarget(conn_id="warehouse", table="t")], 7)) == {}
