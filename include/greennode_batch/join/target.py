"""Targets: one shard's joined rows, upserted by key in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greennode_batch.errors import ConfigError
from greennode_batch.join.postgres_table import PostgresTable
from greennode_batch.join.sql_table import SqlTable
from greennode_batch.join.sqlite_table import SqliteTable

__all__ = ["SqlTable", "sql_table"]


def sql_table(connection: Any, table: str, key: Sequence[str]) -> SqlTable:
    """The table on a DB-API connection, by the connection's driver. Raises ConfigError for one not supported."""
    driver = type(connection).__module__.partition(".")[0]
    if driver in {"psycopg", "psycopg2"}:
        return PostgresTable(connection, table, key)
    if driver == "sqlite3":
        return SqliteTable(connection, table, key)
    raise ConfigError(f"table {table}: a target on {driver} is not supported; use PostgreSQL or SQLite")
