"""Left as it is: answered.<n>.json, which rows of its table a run does not touch."""

from __future__ import annotations

import msgspec

from greennode_batch.state.document import Document
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.table_digest import TableDigest


class UntouchedRows(Document, frozen=True):
    """answered.<n>.json: what a run leaves as it is in its table.

    valid_for: a hash of all that makes requests of rows. others: the job's rows of other runs, as the table will tell
    them when this run is written, if nobody else writes. orphaned: the job's rows that the source does not have, if
    they were sought. job_id: whose rows these are; None for all of the table's. of_other_jobs: how many rows beside
    them are left as they are since another job's row serves this one as well. final_for: the answer model that final
    outcomes are noted for.
    """

    table: str
    valid_for: str
    others: TableDigest
    orphaned: OrphanedRows | None = msgspec.field(name="left")
    final_for: str = ""
    job_id: str | None = None
    of_other_jobs: int = 0
