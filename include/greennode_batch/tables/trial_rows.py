"""Trial rows: rows in a temporary table with the target's column types, to find those that the database refuses."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from greennode_batch.tables.database_errors import refusal
from greennode_batch.tables.sql_dialect import PLACE, TRIAL, Dialect

_SAVED = "greennode_batch_of_rows"


def first_refused(dialect: Dialect, tx: Any, rows: pa.Table) -> tuple[int, str] | None:
    """Insert rows into TRIAL. The PLACE of one that the database refuses, and why; None if all are in."""
    error = _insert(dialect, tx, rows)
    if error is None:
        return None
    while rows.num_rows > 1:
        half = rows.slice(0, rows.num_rows // 2)
        if _insert(dialect, tx, half) is None:
            half = rows.slice(half.num_rows)
        rows = half
    error = _insert(dialect, tx, rows) or error
    return int(rows[PLACE][0].as_py()), refusal(error).reason


def _insert(dialect: Dialect, tx: Any, rows: pa.Table) -> Any:
    """The driver's error; None if the rows are in."""
    dialect.run(tx, f"SAVEPOINT {_SAVED}")
    try:
        dialect.insert(tx, TRIAL, rows)
    except dialect.error as error:
        dialect.run(tx, f"ROLLBACK TO SAVEPOINT {_SAVED}")
        return error
    dialect.run(tx, f"RELEASE SAVEPOINT {_SAVED}")
    return None
