"""WrittenRows: the rows of a run in a target, as Arrow tables with the types of staging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from greennode_batch.tables.table_target import TableTarget


class WrittenRows(Protocol):
    """The rows of a run in a target."""

    name: str
    """The target's name in messages."""
    target_id: str
    """Identifies the target among the targets of the job."""

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the run's rows in these columns, with these types where the values fit. Can be called again."""

    def find(self, keys: pa.Table) -> pa.Table:
        """Look up the rows with these keys, whichever run wrote them.

        They have the columns of `found_schema`; the key is as the target stores it.
        """


class TableRows:
    """The rows of a run in a SQL table. job_id: only this job's rows; the default is any job's."""

    def __init__(self, table: TableTarget, run_id: str, *, job_id: str | None = None) -> None:
        self.name = f"table {table.name}"
        self.target_id = table.target_id
        self._table = table
        self._run_id = run_id
        self._job_id = job_id

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the run's rows, a few thousand at a time."""
        return self._table.batches(self._run_id, schema, job_id=self._job_id)

    def find(self, keys: pa.Table) -> pa.Table:
        """Look up the rows with these keys, with the database's own comparison."""
        return self._table.find(keys)
