"""The addresses of tables and files, as Airflow's providers and OpenLineage name them."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from airflow.providers.amazon.aws.assets.s3 import convert_asset_to_openlineage as lineage_of_s3
from airflow.providers.common.io.assets.file import convert_asset_to_openlineage as lineage_of_file
from airflow.providers.postgres.assets.postgres import convert_asset_to_openlineage as lineage_of_postgres
from airflow.sdk import Asset, Connection
from psycopg.conninfo import conninfo_to_dict

from greennode_airflow.observability.assets import asset_of, assets_of
from greennode_airflow.runtime.addresses import path_address, table_addresses
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

SECRETS = {"login": "anna", "password": "s3cr3t"}


def connect(monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PLACE", json.dumps(fields))


def uris(*tables: str) -> list[str | None]:
    return [one and Asset(uri=one.uri).uri for one in table_addresses("place", tables)]


def test_a_table_of_postgresql_has_the_schema_that_it_lies_in(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where = conninfo_to_dict(database)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA later; CREATE TABLE later.found (id int)")
        connection.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {where['dbname']} SET search_path TO public, later")
    connect(
        monkeypatch,
        conn_type="postgres",
        host=where["host"],
        port=int(where["port"]),
        login=where["user"],
        password=where["password"],
        schema=where["dbname"],
    )
    server = f"postgres://{where['host']}:{where['port']}/{where['dbname']}"
    assert uris("found", "own", 'odd "/ö', "s.own") == [
        f"{server}/later/found",
        f"{server}/public/own",
        f'{server}/public/odd%20"%2Fö',
        f"{server}/s/own",
    ]
    assert where["password"] not in server
    for address in table_addresses("place", ["found", "s.own"]):
        told = lineage_of_postgres(Asset(uri=address.uri), None)
        assert (told.namespace, told.name) == (address.namespace, address.name)


def test_a_table_of_sqlite_lies_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, conn_type="sqlite", host=str(tmp_path / "rows.db"))
    uri = Asset(uri=f"sqlite://{tmp_path}/rows.db/answers").uri
    assert uris("answers", "main.answers", "other.answers") == [uri, uri, None]


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ({"conn_type": "mysql", "host": "DB", "schema": "shop"}, ["mysql://db:3306/shop/t", "mysql://db:3306/s/t"]),
        (
            {"conn_type": "redshift", "host": "db", "port": 99, "schema": "shop"},
            ["redshift://db:99/shop/public/t", "redshift://db:99/shop/s/t"],
        ),
        (
            {"conn_type": "mssql", "host": "u:pw@db", "port": 1433, "schema": "shop"},
            ["mssql://db:1433/shop/t", "mssql://db:1433/shop/s/t"],
        ),
        ({"conn_type": "trino", "host": "::1"}, ["trino://[::1]/t", "trino://[::1]/s/t"]),
        ({"conn_type": "snowflake"}, [None, None]),
    ],
)
def test_a_table_of_any_other_database_is_named_by_its_connection(
    connection: dict[str, object], expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, **connection, **SECRETS)
    monkeypatch.setattr("greennode_airflow.runtime.addresses.hook_of", _Hook)
    assert uris("t", "s.t") == expected


class _Hook:
    """The hook of a provider that is not installed here."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id

    def get_connection(self, conn_id: str) -> object:
        return Connection.get(conn_id)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/data/answers/", "file:///data/answers"),
        ("file:///data/answers", "file:///data/answers"),
        ("s3://lake@bucket/answers/", "s3://bucket/answers"),
        ("s3://lake@bucket", "s3://bucket/"),
        ("s3a://bucket/answers", "s3://bucket/answers"),
    ],
)
def test_files_are_named_without_their_connection(path: str, uri: str) -> None:
    address = path_address(path)
    assert Asset(uri=address.uri).uri == uri
    told = (lineage_of_s3 if urlsplit(uri).scheme == "s3" else lineage_of_file)(Asset(uri=address.uri), None)
    assert (told.namespace, told.name.strip("/")) == (address.namespace, address.name.strip("/"))


def test_what_a_job_reads_and_what_another_writes_is_one_alias() -> None:
    source = SqlSource(conn_id="place", sql="SELECT 1", tables=("t", "s.u"))
    assert [alias.name for alias in assets_of(source)] == ["place.t", "place.s.u"]
    assert assets_of(source)[0] == asset_of(SqlTarget(conn_id="place", table="t"))
    assert assets_of(FileSource(path="/data")) == [asset_of(FileTarget(path="/data"))]
