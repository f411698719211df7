"""Addresses: where tables and files are, by the names that Airflow's providers and OpenLineage use.

An address has no user, no password and no connection id, so that others who read or write the same table meet it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import quote

from airflow.sdk import ObjectStoragePath

from greennode_airflow.runtime.databases import hook_of
from greennode_batch.job.targets import SqlTarget, Target
from greennode_batch.staging.stores import AZURE_SCHEMES

# Spellings of one store.
_STORES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_PORTS = {"postgres": 5432, "redshift": 5439, "mysql": 3306}
# As a name in a URI, these would end it or make two of it.
_RESERVED = re.compile(r"[/?#%\s]")
_SCHEMA = """
SELECT coalesce(
    (SELECT nspname FROM pg_namespace n JOIN pg_class c ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)),
    current_schema()
)
"""


class Address(NamedTuple):
    """The address of a table or of files."""

    uri: str
    """For an Airflow asset: `postgres://host:port/database/schema/table`, `s3://bucket/key`, `file:///path`."""
    namespace: str
    """For OpenLineage: `postgres://host:port`, `s3://bucket`, `file`."""
    name: str
    """For OpenLineage: `database.schema.table`, or the key or path."""


def target_address(target: Target) -> Address | None:
    """The address of a target as rendered; None if its connection names no host."""
    if isinstance(target, SqlTarget):
        return table_addresses(target.conn_id, [target.table])[0]
    return path_address(target.path)


def path_address(path: str | ObjectStoragePath) -> Address:
    """The address of a file or a folder; an Airflow path is named without its connection."""
    opened = ObjectStoragePath(path)
    if opened.protocol in {"", "file", "local"}:
        return Address(f"file://{opened.path}", "file", opened.path)
    bucket, _, key = opened.path.partition("/")
    if opened.protocol in AZURE_SCHEMES:
        # A container's name alone says nothing: each account may have one.
        bucket, scheme = f"{bucket}@{opened.fs.account_name}.dfs.core.windows.net", "abfss"
    else:
        scheme = _STORES.get(opened.protocol, opened.protocol)
    return Address(f"{scheme}://{bucket}/{key}", f"{scheme}://{bucket}", key)


def table_addresses(conn_id: str, tables: Sequence[str]) -> list[Address | None]:
    """The address of each table, `table` or `schema.table`; None if the connection names no host.

    Asks PostgreSQL and SQLite for what the connection leaves open: the schema, the database, the file.
    """
    hook = hook_of(conn_id)
    connection = hook.get_connection(conn_id)
    is_redshift = connection.conn_type == "redshift" or bool(connection.extra_dejson.get("redshift"))
    if connection.conn_type == "postgres" and not is_redshift:
        with closing(hook.get_conn()) as opened:
            return [_of_postgres(opened, connection, table) for table in tables]
    if connection.conn_type == "sqlite":
        with closing(hook.get_conn()) as opened:
            files = {name: path for _, name, path in opened.execute("PRAGMA database_list")}
        return [_of_sqlite(files, table) for table in tables]
    return [_of_host(connection, "redshift" if is_redshift else connection.conn_type, table) for table in tables]


def _of_postgres(opened: Any, connection: Any, table: str) -> Address:
    *schema, name = table.split(".")
    if not schema:
        with opened.cursor() as cursor:
            cursor.execute(_SCHEMA, ('"{}"'.format(name.replace('"', '""')),))
            schema = [cursor.fetchone()[0] or "public"]
    host = connection.host or opened.info.host
    port = connection.port or opened.info.port
    # A socket is a folder, and on this machine.
    server = _server("postgres", "localhost" if not host or host.startswith("/") else host, port)
    return _in_server(server, opened.info.dbname, *schema, name)


def _of_sqlite(files: dict[str, str], table: str) -> Address | None:
    *schema, name = table.split(".")
    file = files.get(schema[0] if schema else "main")
    return Address(f"sqlite://{file}/{_part(name)}", f"sqlite://{file}", name) if file else None


def _of_host(connection: Any, scheme: str, table: str) -> Address | None:
    if not connection.host:
        return None
    parts = table.split(".")
    if scheme == "redshift" and len(parts) == 1:
        parts = ["public", *parts]
    # MySQL has databases where others have schemas.
    database = None if scheme == "mysql" and len(parts) > 1 else connection.schema
    server = _server(scheme, connection.host, connection.port)
    return _in_server(server, *filter(None, [database, *parts]))


def _server(scheme: str, host: str, port: int | None) -> str:
    host = host.rpartition("@")[2].rpartition("://")[2].partition("/")[0].lower()
    port = port or _PORTS.get(scheme)
    bracketed = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    return f"{scheme}://{bracketed}:{port}" if port else f"{scheme}://{bracketed}"


def _in_server(server: str, *parts: str) -> Address:
    return Address("/".join([server, *map(_part, parts)]), server, ".".join(parts))


def _part(name: str) -> str:
    return _RESERVED.sub(lambda found: quote(found[0], safe=""), name)
