"""Written rows: what a table or a file holds of a run, as Arrow with the types that staging keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from greennode_batch.tables.table_target import TableTarget


class WrittenRows(Protocol):
    """What a target holds of a run. `name`: what people call the target. `target_id`: see state/plan.py."""

    name: str
    target_id: str

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows in these columns, with these types where they can have them. May be asked again."""

    def find(self, keys: pa.Table) -> pa.Table:
        """The rows that have these keys, whatever run wrote them.

        Columns: those of `found_schema`; the key is as the target holds it.
        """


class TableRows:
    """The rows of a run in a table of SQL. job_id: whose run it is; by default any job's."""

    def __init__(self, table: TableTarget, run_id: str, *, job_id: str | None = None) -> None:
        self.name = f"table {table.name}"
        self.target_id = table.target_id
        self._table = table
        self._run_id = run_id
        self._job_id = job_id

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows, some thousand at a time."""
        return self._table.batches(self._run_id, schema, job_id=self._job_id)

    def find(self, keys: pa.Table) -> pa.Table:
        """The rows that have these keys, as the database compares them."""
        return self._table.find(keys)
