"""Databases: an Airflow connection becomes a DB-API connection, and a target its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from airflow.sdk import BaseHook

from greennode_batch.job import SqlTarget
from greennode_batch.join.sql_table import SqlTable
from greennode_batch.join.target import sql_table


def connect(conn_id: str) -> Any:
    """A new DB-API connection; close it."""
    hook: Any = BaseHook.get_hook(conn_id)
    return hook.get_conn()


@contextmanager
def open_table(target: SqlTarget, key: Sequence[str]) -> Iterator[SqlTable]:
    """The target's table on a connection of its own."""
    with closing(connect(target.conn_id)) as connection:
        yield sql_table(connection, target.table, key, add_columns=target.add_columns)
