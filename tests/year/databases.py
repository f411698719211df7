"""Databases: where the tables of a year are, SQLite in memory or PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

import psycopg
from psycopg import sql


class Database(Protocol):
    """A database with nothing in it at first."""

    connection: Any

    def rows(self, table: str) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """The columns and the rows of a table; none if there is no such table."""


class Sqlite:
    """SQLite in memory."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")

    def rows(self, table: str) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """The columns and the rows of a table; none if there is no such table."""
        try:
            cursor = self.connection.execute(f"SELECT * FROM {table}")
            return [column[0] for column in cursor.description], cursor.fetchall()
        except sqlite3.OperationalError:
            return (), []
        finally:
            self.connection.rollback()


class Postgres:
    """A database of PostgreSQL, whose sessions are in a zone with summer time."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, options="-c timezone=Europe/Berlin -c client_min_messages=warning")
        self.connection.execute("DROP SCHEMA public CASCADE")
        self.connection.execute("CREATE SCHEMA public")
        self.connection.commit()

    def rows(self, table: str) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """The columns and the rows of a table; none if there is no such table."""
        try:
            cursor = self.connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            return [column.name for column in cursor.description or ()], cursor.fetchall()
        except psycopg.errors.UndefinedTable:
            return (), []
        finally:
            self.connection.rollback()
