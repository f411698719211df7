"""Written rows: what a table or a file holds of a run, as Arrow with the types that staging keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import pyarrow as pa

from greennode_batch.build.column_types import to_arrow
from greennode_batch.errors import ConfigError
from greennode_batch.join.sql_table import SqlTable

_FOUND = (pa.field("custom_id", pa.string()), pa.field("status", pa.string()), pa.field("run_id", pa.string()))


class WrittenRows(Protocol):
    """What a target holds of a run. `name`: what people call the target."""

    name: str

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows in these columns, with these types where they can have them. May be asked again."""

    def find(self, keys: pa.Table) -> pa.Table:
        """The rows that have these keys, whatever run wrote them.

        Columns: `place` (of the key among those asked), the key as the target holds it, custom_id, status, run_id.
        """


class TableRows:
    """The rows of a run in a table of SQL."""

    def __init__(self, table: SqlTable, run_id: str) -> None:
        self.name = f"table {table.name}"
        self._table = table
        self._run_id = run_id

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows, some thousand at a time."""
        for rows in self._table.rows_of(self._run_id, schema.names):
            yield _as_arrow(rows, schema)

    def find(self, keys: pa.Table) -> pa.Table:
        """The rows that have these keys, as the database compares them."""
        return _as_arrow(self._table.find(keys), found_schema(keys.schema))


def found_schema(key: pa.Schema) -> pa.Schema:
    """The columns of what `find` gives, for keys of these types."""
    return pa.schema([pa.field("place", pa.int64()), *key, *_FOUND])


def _as_arrow(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    if not rows:
        return schema.empty_table()
    columns = zip(*rows, strict=True)
    arrays = [_typed(values, field) for values, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, names=schema.names)


def _typed(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """A column as staging keeps it; as text if the target's values do not fit that, for then they are compared there.

    SQLite gives text for a date or a decimal, 0 and 1 for a boolean; PostgreSQL a decimal for an unsigned 64-bit
    number, and each time in the session's zone.
    """
    # Most keys by far, and so thrice as fast. A fraction would be cut off without a word.
    if pa.types.is_string(field.type) or set(map(type, values)) == {int}:
        with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
            return pa.array(values, field.type)
    try:
        return to_arrow(values, field.name).cast(field.type)
    except (pa.ArrowException, ConfigError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
