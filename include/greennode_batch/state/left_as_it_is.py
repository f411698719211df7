"""Left as it is: answered.json, which rows of its table a run does not touch."""

from __future__ import annotations

from greennode_batch.state.document import Document
from greennode_batch.state.plan import LeftRows
from greennode_batch.state.table_digest import TableDigest


class LeftAsItIs(Document, frozen=True):
    """answered.json: what a run leaves as it is in its table.

    valid_for: a hash of all that makes requests of rows. others: the table's rows of other runs, as it will tell them
    when this run is written, if nobody else writes. left: its rows that the source does not have, if they were sought.
    final_for: the answer model that final outcomes are noted for.
    """

    table: str
    valid_for: str
    others: TableDigest
    left: LeftRows | None
    final_for: str = ""
