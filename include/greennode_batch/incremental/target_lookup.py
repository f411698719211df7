"""Earlier rows: what a table has of runs before this one, so that a row is asked again only if its request differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.incremental.answered import ANSWERED, Codes, is_answered, settled
from greennode_batch.job.columns import JOB_ID, OWNER_COLUMNS
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.table_digest import NO_DIGEST, TableDigest
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.tables.typed_rows import DIGEST

_ASKED_FOR = ("custom_id", "status", "run_id")
_ORDER, _FINAL = "greennode_order", "greennode_final"

_Flags = npt.NDArray[np.bool_]


class LookupRows(NamedTuple):
    """Rows that are looked up in a target.

    keys: the target's key columns, a row each. custom_ids: of their requests. unsent: by place, why a row is not sent.
    final_for: see `settled`. owner: of the run that asks; the outcomes of its own rows are its own to find, also where
    it is built again.
    """

    keys: pa.Table
    custom_ids: Sequence[str]
    unsent: Mapping[int, str]
    final_for: str | None
    owner: RowOwner


class Found(NamedTuple):
    """What a target has of some rows.

    codes: an answer or a final outcome to this very request, by row. stale: the places of those with a good answer to
    another request. rewritten: the places of settled ones whose row in the target the run itself takes back, so that it
    has to write them once more. of_others: the places of settled ones whose row is another job's.
    """

    codes: Codes
    stale: Sequence[int]
    rewritten: Sequence[int] = ()
    of_others: Sequence[int] = ()


class TargetLookup(Protocol):
    """What a target has of earlier runs; the methods of TableLookup say what they give."""

    name: str
    target_id: str

    def look_up(self, requested: LookupRows) -> Found:
        """What the target has of these rows."""

    def stored(self, keys: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
        """What the rows that have these keys hold in these columns."""

    def orphaned(
        self, keys: Iterable[pa.Table], *, requested: pa.Table | None = None, order: str | None = None, remove: bool
    ) -> OrphanedRows:
        """The job's rows whose keys are not among these."""


class TableLookup:
    """The rows of a table, whatever run wrote them. One that is not there yet, or is another's, has none.

    job_id: whose rows it counts and removes; by default, and in a table that does not say whose its rows are, all.
    takes_over: whether rows that are nobody's yet become the job's where they are found answered.

    All figures are of the job's own rows, since `begin`. found: how many it had for the keys that it was asked for.
    replaced: a digest of those among them that are to be written over, and of those that `orphaned` removed.
    taken_over: of those that have become the job's.
    """

    def __init__(self, table: TableTarget, *, job_id: str | None = None, takes_over: bool = True) -> None:
        self.name = table.name
        self.target_id = table.target_id
        self.job_id = job_id
        self.found = 0
        self.replaced = self.taken_over = NO_DIGEST
        self._table = table
        # What is wrong with another's table is told when it is prepared, which is before anything is paid.
        self._is_ours = table.is_there([*table.key, *_ASKED_FOR])
        self._has_final = table.is_there([_FINAL])
        self._has_owners = job_id is not None and table.is_there([*table.key, JOB_ID])
        self._takes_over = takes_over
        self._has_digests = False

    def begin(self) -> TableDigest | None:
        """Begin to count; a digest of key, custom_id and status of the rows, None where the database makes none."""
        self.found, self.replaced, self.taken_over = 0, NO_DIGEST, NO_DIGEST
        digests = self._table.digests(run_id="", job_id=self.job_id)
        self._has_digests = digests is not None
        return None if digests is None else digests.all_rows

    def look_up(self, requested: LookupRows) -> Found:
        """What the table has of these rows, whoever wrote it."""
        keys, owner = requested.keys, requested.owner
        codes = np.zeros(keys.num_rows, np.uint8)
        if not self._is_ours:
            return Found(codes, [])
        found = self._table.find(keys, digests=self._has_digests)
        if not self._has_final:
            found = found.set_column(
                found.schema.get_field_index(_ORDER), _ORDER, pa.nulls(found.num_rows, pa.string())
            )
        indexes = found["index"].to_numpy()
        custom_ids = pa.array(requested.custom_ids, pa.string()).take(found["index"])
        reasons = pa.array([requested.unsent.get(index) for index in indexes.tolist()], pa.string())
        is_unsent = pc.and_(pc.is_null(found["custom_id"]), pc.equal(found["error"], reasons))
        is_same = _is_true(pc.or_kleene(pc.equal(found["custom_id"], custom_ids), is_unsent))
        is_of_run = pc.and_kleene(
            pc.equal(found["run_id"], owner.run_id), pc.equal(pc.coalesce(found[JOB_ID], owner.job_id), owner.job_id)
        )
        made = settled(found, requested.final_for)
        made[~is_same | (_is_true(is_of_run) & (made != ANSWERED))] = 0
        codes[indexes] = made
        is_settled = made != 0
        is_own = self._is_own(found)
        self.found += int(np.count_nonzero(is_own))
        self.replaced = self.replaced.joined_with(self._digest_of(found, is_own & ~is_settled))
        is_unowned = is_settled & _is_true(pc.is_null(found[JOB_ID]))
        if self._has_owners and self._takes_over and is_unowned.any():
            self._table.take_over(keys.take(pa.array(indexes[is_unowned])), job_id=self.job_id or "")
            self.taken_over = self.taken_over.joined_with(self._digest_of(found, is_unowned))
            is_own |= is_unowned
        stale = indexes[_is_true(is_answered(found)) & ~is_same]
        return Found(codes, stale.tolist(), of_others=indexes[is_settled & ~is_own].tolist())

    def stored(self, keys: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
        """What the rows that have these keys hold in these columns, beside `index`: of which key a row is.

        None of them if the table lacks one of the columns, or holds in it what does not have its type.
        """
        requested = [field.name for field in fields if field.name not in OWNER_COLUMNS]
        if not self._table.is_there([*self._table.key, *requested]):
            return typed(keys.slice(0, 0), fields)
        return typed(self._table.stored(keys, fields), fields)

    def _is_own(self, found: pa.Table) -> _Flags:
        if not self._has_owners:
            return np.ones(found.num_rows, np.bool_)
        return _is_true(pc.equal(found[JOB_ID], self.job_id))

    def _digest_of(self, found: pa.Table, chosen: _Flags) -> TableDigest:
        if not self._has_digests:
            return NO_DIGEST
        digests = found[DIGEST].to_numpy()[chosen].tolist()
        return TableDigest(len(digests), sum(digests))

    def orphaned(
        self, keys: Iterable[pa.Table], *, requested: pa.Table | None = None, order: str | None = None, remove: bool
    ) -> OrphanedRows:
        """The job's rows whose keys are not among these; removes them if told to.

        keys: of all rows of the source, some thousand at a time. Holds none of them. requested: what the other columns
        of the target's key may hold, if it has any: a row with anything else is neither left nor removed. order: the
        run's; nor is what a later one wrote.
        """
        if not self._is_ours:
            return OrphanedRows(0, "", removed=False)
        orphaned, removed = self._table.leave_only(
            keys, requested=requested, job_id=self.job_id, order=order, remove=remove
        )
        self.replaced = self.replaced.joined_with(removed)
        return orphaned


def typed(stored: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    """The rows with `index` and these columns in their types; none if a value cannot have its column's."""
    schema = pa.schema([pa.field("index", pa.int64()), *fields])
    try:
        return stored.select(schema.names).cast(schema) if stored.num_rows else schema.empty_table()
    except pa.ArrowException:
        return schema.empty_table()


def _is_true(conditions: pa.ChunkedArray) -> _Flags:
    made: _Flags = pc.fill_null(conditions, fill_value=False).to_numpy()
    return made
