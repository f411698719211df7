"""Open a SQL table as a target, with the fastest dialect for its database.

This is a separate module so that a run that writes only files imports neither SQLAlchemy nor a driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from greennode_batch.errors import ConfigError
from greennode_batch.tables.postgres import PostgresDialect
from greennode_batch.tables.sql_dialect import Dialect
from greennode_batch.tables.sqlalchemy_dialect import SqlAlchemyDialect
from greennode_batch.tables.sqlite import SqliteDialect
from greennode_batch.tables.table_target import TableTarget

OWN_DRIVERS: dict[str, type[Dialect]] = {
    "psycopg": PostgresDialect,
    "psycopg2": PostgresDialect,
    "sqlite3": SqliteDialect,
}
"""The dialects of specific DB-API drivers. All other databases go through SQLAlchemy."""


def sql_table(
    connection: Any, table: str, key: Sequence[str], *, add_columns: bool = False, target_id: str = ""
) -> TableTarget:
    """Open a table on a DB-API connection of psycopg, psycopg2 or sqlite3, or on an SQLAlchemy engine."""
    driver = type(connection).__module__.partition(".")[0]
    own = SqlAlchemyDialect if isinstance(connection, sa.Engine) else OWN_DRIVERS.get(driver)
    if own is None:
        raise ConfigError(
            f"table {table}: {driver} has no built-in dialect; pass an SQLAlchemy engine instead of a connection"
        )
    return TableTarget(own(connection, table, key), add_columns=add_columns, target_id=target_id)
