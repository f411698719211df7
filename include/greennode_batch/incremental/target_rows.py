"""Earlier rows: what a table has of runs before this one, so that a row is asked again only if its request differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.incremental.answered import ANSWERED, Codes, is_answered, settled
from greennode_batch.job.columns import OWNER_COLUMNS
from greennode_batch.state.plan import LeftRows
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.tables.typed_rows import DIGEST

_ASKED_FOR = ("custom_id", "status", "run_id")
_JOB, _ORDER, _FINAL = "greennode_job", "greennode_order", "greennode_final"


class Found(NamedTuple):
    """What a target has of some rows.

    codes: an answer or a final outcome to this very request, by row. stale: the places of those with a good answer to
    another request. rewritten: the places of settled ones whose row in the target the run itself takes back, so that it
    has to write them once more.
    """

    codes: Codes
    stale: Sequence[int]
    rewritten: Sequence[int] = ()


class KnownRows(Protocol):
    """What a target has of earlier runs; the methods of EarlierRows say what they give."""

    name: str
    target_id: str

    def look_up(
        self,
        keys: pa.Table,
        custom_ids: Sequence[str],
        unsent: Mapping[int, str],
        *,
        final_for: str | None,
        owner: RowOwner,
    ) -> Found:
        """What the target has of these rows."""

    def stored(self, keys: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
        """What the rows that have these keys hold in these columns."""

    def left(self, keys: Iterable[pa.Table], *, asked: pa.Table | None = None, remove: bool) -> LeftRows:
        """The rows whose keys are not among these."""


class EarlierRows:
    """The rows of a table, whatever run wrote them. One that is not there yet, or is another's, has none.

    found: how many rows it had for the keys that it was asked for since `begin`. replaced: a digest of those among them
    that are to be written over, and of those that `left` removed.
    """

    def __init__(self, table: TableTarget) -> None:
        self.name = table.name
        self.target_id = table.target_id
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

    def look_up(
        self,
        keys: pa.Table,
        custom_ids: Sequence[str],
        unsent: Mapping[int, str],
        *,
        final_for: str | None,
        owner: RowOwner,
    ) -> Found:
        """What the table has of these rows.

        keys: the target's key columns, a row each. unsent: by place, why a row is not sent. final_for: see `settled`.
        owner: of the run that asks; the outcomes of its own rows are its own to find, also where it is built again.
        """
        codes = np.zeros(keys.num_rows, np.uint8)
        if not self._is_ours:
            return Found(codes, [])
        found = self._table.find(keys, digests=self._has_digests)
        if not self._has_final:
            found = found.set_column(
                found.schema.get_field_index(_ORDER), _ORDER, pa.nulls(found.num_rows, pa.string())
            )
        places = found["place"].to_numpy()
        asked = pa.array(custom_ids, pa.string()).take(found["place"])
        reasons = pa.array([unsent.get(place) for place in places.tolist()], pa.string())
        is_unsent = pc.and_(pc.is_null(found["custom_id"]), pc.equal(found["error"], reasons))
        is_same = _is_true(pc.or_kleene(pc.equal(found["custom_id"], asked), is_unsent))
        is_own = pc.and_kleene(
            pc.equal(found["run_id"], owner.run_id), pc.equal(pc.coalesce(found[_JOB], owner.job_id), owner.job_id)
        )
        made = settled(found, final_for)
        made[~is_same | (_is_true(is_own) & (made != ANSWERED))] = 0
        codes[places] = made
        self.found += found.num_rows
        if self._has_digests:
            replaced = found[DIGEST].to_numpy()[made == 0]
            self.replaced = self.replaced.joined_with(TableDigest(len(replaced), sum(replaced.tolist())))
        return Found(codes, places[_is_true(is_answered(found)) & ~is_same].tolist())

    def stored(self, keys: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
        """What the rows that have these keys hold in these columns, beside `place`: of which key a row is.

        None of them if the table lacks one of the columns, or holds in it what does not have its type.
        """
        asked = [field.name for field in fields if field.name not in OWNER_COLUMNS]
        if not self._table.is_there([*self._table.key, *asked]):
            return typed(keys.slice(0, 0), fields)
        return typed(self._table.stored(keys, fields), fields)

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


def typed(stored: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    """The rows with `place` and these columns in their types; none if a value cannot have its column's."""
    schema = pa.schema([pa.field("place", pa.int64()), *fields])
    try:
        return stored.select(schema.names).cast(schema) if stored.num_rows else schema.empty_table()
    except pa.ArrowException:
        return schema.empty_table()


def _is_true(conditions: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    made: npt.NDArray[np.bool_] = pc.fill_null(conditions, fill_value=False).to_numpy()
    return made
