"""Earlier rows: what a table has of runs before this one, as the builder asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.build.known_rows import LeftRows
from greennode_batch.collect.verdicts import RowStatus
from greennode_batch.join.sql_table import SqlTable

_ASKED_FOR = ("custom_id", "status", "run_id")


class EarlierRows:
    """The rows of a table, whatever run wrote them. One that is not there yet, or is another's, has none."""

    def __init__(self, table: SqlTable) -> None:
        self._table = table
        # What is wrong with another's table is told when it is prepared, which is before anything is paid.
        self._is_ours = table.is_there([*table.key, *_ASKED_FOR])

    def answered(self, keys: pa.Table, custom_ids: Sequence[str]) -> Sequence[int]:
        """Which of these rows have a good answer to this very request: their places."""
        if not self._is_ours:
            return []
        found = self._table.find(keys)
        asked = pa.array(custom_ids, pa.string()).take(found["place"])
        good = pc.and_(pc.equal(found["custom_id"], asked), pc.equal(found["status"], RowStatus.SUCCEEDED.value))
        places: list[int] = found.filter(good)["place"].to_pylist()
        return places

    def left(self, keys: Iterable[pa.Table], *, remove: bool) -> LeftRows:
        """The rows whose keys are not among these; removes them if told to."""
        return self._table.leave_only(keys, remove=remove) if self._is_ours else LeftRows(0, "", removed=False)
