"""Rows of a query -> which of them are near duplicates of others."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.operators.query import QueryOperator
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget


class GreenNodeMarkNearDuplicatesOperator(QueryOperator):
    """Marks rows of a query whose text is nearly that of an earlier row. Returns how many were read, kept and marked.

    source: the query; the first row of near duplicates is kept, so give it an ORDER BY. key: the column(s) that
    identify a row. text: the column to compare. target: a table with the key, `duplicate_of` (the key of the row that
    is kept; NULL for that row itself) and `similarity`; it is made if it is missing. threshold: the share of
    four-letter pieces that two texts must have in common to be near duplicates.
    """

    def __init__(
        self,
        *,
        source: SqlSource,
        key: str | tuple[str, ...],
        text: str,
        target: SqlTarget,
        threshold: float = 0.8,
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, **kwargs)
        self.key = (key,) if isinstance(key, str) else tuple(key)
        self.text = text
        self.target = target
        self.threshold = threshold

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, int]:
        """Compare and write, in one transaction; run again, it writes the same."""
        from greennode_airflow.runtime.databases import open_table
        from greennode_batch.analysis.near_duplicates import DUPLICATE_OF, mark_near_duplicates

        with self.opened() as read, open_table(self.target, self.key) as table:
            marks = list(mark_near_duplicates(read(), self.key, self.text, self.threshold))
            if marks:
                table.prepare(marks[0].schema)
                table.write(marks)
        rows, kept = sum(some.num_rows for some in marks), sum(some[DUPLICATE_OF].null_count for some in marks)
        counts = {"rows": rows, "kept": kept, "near_duplicates": rows - kept}
        self.log.info("%(rows)d rows: %(kept)d are kept, %(near_duplicates)d are near duplicates of them", counts)
        return counts
