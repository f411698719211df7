"""SQLite types: the Arrow types that the columns of a query are declared with, for columns that have no value."""

from __future__ import annotations

import sqlite3
import uuid
from typing import Any

import pyarrow as pa

# SQLite's own rule, in its order: what a declared type contains decides how its values are stored.
_TYPES = (("INT", pa.int64()), *((word, pa.string()) for word in ("CHAR", "CLOB", "TEXT", "DATE", "TIME")))
_FRACTIONS = (("REAL", pa.float64()), ("FLOA", pa.float64()), ("DOUB", pa.float64()))


def sqlite_types(connection: Any, sql: str) -> dict[str, pa.DataType]:
    """The types of a query's columns that come straight from tables; empty for another database.

    SQLite tells them of a view only. A query with parameters makes none.
    """
    if not isinstance(connection, sqlite3.Connection):
        return {}
    view = f"greennode_{uuid.uuid4().hex}"
    try:
        connection.execute(f"CREATE TEMP VIEW {view} AS {sql}")
    except sqlite3.Error:
        return {}
    try:
        columns = connection.execute(f"PRAGMA temp.table_info({view})").fetchall()
    except sqlite3.Error:
        return {}
    finally:
        connection.execute(f"DROP VIEW temp.{view}")
    found = {name: _type_of(declared.upper()) for _, name, declared, *_ in columns}
    return {name: arrow for name, arrow in found.items() if arrow is not None}


def _type_of(declared: str) -> pa.DataType | None:
    return next((arrow for word, arrow in (*_TYPES, *_FRACTIONS) if word in declared), None)
