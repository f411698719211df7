"""Earlier rows: what a table has of runs before this one, so that a row is asked again only if its request differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.incremental.answered import ANSWERED, Codes, settled
from greennode_batch.state.plan import LeftRows
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.tables.typed_rows import DIGEST

_ASKED_FOR = ("custom_id", "status", "run_id")
_JOB, _ORDER, _FINAL = "greennode_job", "greennode_order", "greennode_final"


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
        self._has_final = table.is_there([_FINAL])
        self._has_digests = False

    def begin(self) -> TableDigest | None:
        """Begin to count; a digest of key, custom_id and status of all rows, None where the database makes none."""
        self.found, self.replaced = 0, NO_DIGEST
        digests = self._table.digests(run_id="")
        self._has_digests = digests is not None
        return None if digests is None else digests.all_rows

    def settled(
        self,
        keys: pa.Table,
        custom_ids: Sequence[str],
        unsent: Mapping[int, str],
        *,
        final_for: str | None,
        owner: RowOwner,
    ) -> Codes:
        """Which of these rows the table has a good answer or a final outcome of, to this very request.

        keys: the target's key columns, a row each. unsent: by place, why a row is not sent. final_for: see `settled`.
        owner: of the run that asks; the outcomes of its own rows are its own to find, also where it is built again.
        """
        codes = np.zeros(keys.num_rows, np.uint8)
        if not self._is_ours:
            return codes
        found = self._table.find(keys, digests=self._has_digests)
        if not self._has_final:
            found = found.set_column(
                found.schema.get_field_index(_ORDER), _ORDER, pa.nulls(found.num_rows, pa.string())
            )
        places = found["place"].to_numpy()
        asked = pa.array(custom_ids, pa.string()).take(found["place"])
        reasons = pa.array([unsent.get(place) for place in places.tolist()], pa.string())
        is_unsent = pc.and_(pc.is_null(found["custom_id"]), pc.equal(found["error"], reasons))
        is_same = pc.or_kleene(pc.equal(found["custom_id"], asked), is_unsent)
        is_own = pc.and_kleene(
            pc.equal(found["run_id"], owner.run_id), pc.equal(pc.coalesce(found[_JOB], owner.job_id), owner.job_id)
        )
        made = settled(found, final_for)
        made[~_is_true(is_same) | (_is_true(is_own) & (made != ANSWERED))] = 0
        codes[places] = made
        self.found += found.num_rows
        if self._has_digests:
            replaced = found[DIGEST].to_numpy()[made == 0]
            self.replaced = self.replaced.joined_with(TableDigest(len(replaced), sum(replaced.tolist())))
        return codes

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


def _is_true(conditions: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    made: npt.NDArray[np.bool_] = pc.fill_null(conditions, fill_value=False).to_numpy()
    return made
