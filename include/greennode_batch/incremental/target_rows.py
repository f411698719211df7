"""Earlier rows: what a table has of runs before this one, so that a row is asked again only if its request differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.incremental.answered import is_answered
from greennode_batch.state.plan import LeftRows
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.tables.typed_rows import DIGEST

_ASKED_FOR = ("custom_id", "status", "run_id")


class EarlierRows:
    """The rows of a table, whatever run wrote them. One that is not there yet, or is another's, has none.

    found: how many rows it had for the keys that it was asked for since `begin`. replaced: a digest of those among them
    that are to be written over, and of those that `left` removed.
    """

    def __init__(self, table: TableTarget) -> None:
        self.name = table.name
        self.found = 0
        self.replaced = NO_DIGEST
        self._table = table
        # What is wrong with another's table is told when it is prepared, which is before anything is paid.
        self._is_ours = table.is_there([*table.key, *_ASKED_FOR])
        self._has_digests = False

    def begin(self) -> TableDigest | None:
        """Begin to count; a digest of key, custom_id and status of all rows, None where the database makes none."""
        self.found, self.replaced = 0, NO_DIGEST
        digests = self._table.digests(run_id="")
        self._has_digests = digests is not None
        return None if digests is None else digests.all_rows

    def answered(self, keys: pa.Table, custom_ids: Sequence[str]) -> Sequence[int]:
        """Which of these rows have a good answer to this very request: their places.

        keys: the target's key columns, a row each.
        """
        if not self._is_ours:
            return []
        found = self._table.find(keys, digests=self._has_digests)
        asked = pa.array(custom_ids, pa.string()).take(found["place"])
        good = pc.and_(pc.fill_null(pc.equal(found["custom_id"], asked), fill_value=False), is_answered(found))
        self.found += found.num_rows
        if self._has_digests:
            others = found.filter(pc.invert(good))
            others_digest = TableDigest(others.num_rows, sum(others[DIGEST].to_pylist()))
            self.replaced = self.replaced.joined_with(others_digest)
        places: list[int] = found.filter(good)["place"].to_pylist()
        return places

    def left(self, keys: Iterable[pa.Table], *, asked: pa.Table | None = None, remove: bool) -> LeftRows:
        """The rows whose keys are not among these; removes them if told to.

        keys: of all rows of the source, some thousand at a time. Holds none of them. asked: what the other columns of
        the target's key may hold, if it has any: a row with anything else is neither left nor removed.
        """
        if not self._is_ours:
            return LeftRows(0, "", removed=False)
        left, removed = self._table.leave_only(keys, asked=asked, remove=remove)
        self.replaced = self.replaced.joined_with(removed)
        return left
