"""Databases: an Airflow connection becomes a DB-API connection, and a target its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException
from sqlalchemy.engine import Engine
from sqlalchemy.exc import NoSuchModuleError

from greennode_batch.errors import ConfigError
from greennode_batch.job.targets import SqlTarget
from greennode_batch.tables.open_table import OWN_DRIVERS, sql_table
from greennode_batch.tables.table_target import TableTarget


def connect(conn_id: str) -> Any:
    """A new DB-API connection; close it."""
    connection = hook_of(conn_id).get_conn()
    if isinstance(connection, psycopg.Connection):
        # Behind a pooler such as PgBouncer, a prepared statement is missing in the next transaction.
        connection.prepare_threshold = None
    return connection


def hook_of(conn_id: str) -> Any:
    """The hook of a connection. Raises ConfigError if its provider is not installed."""
    try:
        return BaseHook.get_hook(conn_id)
    except AirflowException as error:
        if "Unknown hook type" not in str(error):
            raise  # for example, Airflow itself cannot be reached now
        raise ConfigError(
            f"connection {conn_id}: {error}: the Airflow provider for connections of this type is not installed"
        ) from error


@contextmanager
def open_table(target: SqlTarget, key: Sequence[str]) -> Iterator[TableTarget]:
    """The target's table on a separate connection: by the driver's fast path, or by SQLAlchemy for other databases."""
    with closing(connect(target.conn_id)) as connection:
        if type(connection).__module__.partition(".")[0] in OWN_DRIVERS:
            yield sql_table(connection, target.table, key, **_options(target))
            return
    engine = _engine(target)
    try:
        yield sql_table(engine, target.table, key, **_options(target))
    finally:
        engine.dispose()


def _options(target: SqlTarget) -> dict[str, Any]:
    return {"add_columns": target.add_columns, "target_id": target.target_id}


def _engine(target: SqlTarget) -> Engine:
    hook = hook_of(target.conn_id)
    try:
        engine: Engine = hook.get_sqlalchemy_engine()
    except (AttributeError, NotImplementedError, NoSuchModuleError) as error:
        raise ConfigError(
            f"table {target.table}: connection {target.conn_id} has no SQLAlchemy dialect ({error}); install the "
            "database's own, or use another target"
        ) from error
    return engine
