"""UntouchedRows: answered.<n>.json, the rows of its table that a run leaves as they are."""

from __future__ import annotations

import msgspec

from greennode_batch.state.document import Document
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.table_digest import TableDigest


class UntouchedRows(Document, frozen=True):
    """answered.<n>.json: the rows of its table that a run leaves as they are."""

    table: str
    valid_for: str
    """A hash of everything that turns rows into requests."""
    others: TableDigest
    """The digest that the job's rows of other runs will have when this run is written, if nobody else writes them."""
    orphaned: OrphanedRows | None = msgspec.field(name="left")
    """The job's rows that the source no longer has; None if the build did not look for them."""
    final_for: str = ""
    """The answer model for which final outcomes are remembered."""
    job_id: str | None = None
    """The job that owns the rows; None for all rows of the table."""
    of_other_jobs: int = 0
    """Further rows that stay as they are: rows of other jobs whose answers this job uses."""
