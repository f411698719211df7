"""An open table: a target of SQL, by the way that is fastest for its database.

Apart from `target`, so that a run that writes files imports neither SQLAlchemy nor a driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from greennode_batch.errors import ConfigError
from greennode_batch.tables.postgres import PostgresTable
from greennode_batch.tables.sql_table import SqlTable
from greennode_batch.tables.sqlalchemy_table import GenericTable
from greennode_batch.tables.sqlite import SqliteTable

OWN_DRIVERS: dict[str, type[PostgresTable | SqliteTable]] = {
    "psycopg": PostgresTable,
    "psycopg2": PostgresTable,
    "sqlite3": SqliteTable,
}
"""DB-API drivers with a fast way of their own; all others go by way of SQLAlchemy."""


def sql_table(connection: Any, table: str, key: Sequence[str], *, add_columns: bool = False) -> SqlTable:
    """The table on a DB-API connection of psycopg, psycopg2 or sqlite3, or else on an engine of SQLAlchemy."""
    if isinstance(connection, sa.Engine):
        return GenericTable(connection, table, key, add_columns=add_columns)
    driver = type(connection).__module__.partition(".")[0]
    if driver in OWN_DRIVERS:
        return OWN_DRIVERS[driver](connection, table, key, add_columns=add_columns)
    raise ConfigError(f"table {table}: a target on {driver} needs an engine of SQLAlchemy")
