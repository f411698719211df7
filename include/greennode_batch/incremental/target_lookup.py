"""Target lookup: what a table has of earlier runs, so that a row is sent again only if its request differs."""

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
from greennode_batch.tables.key_check import Keys
from greennode_batch.tables.key_values import KeyValues
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.tables.typed_rows import DIGEST

_ASKED_FOR = ("custom_id", "status", "run_id")
_ORDER, _FINAL = "greennode_order", "greennode_final"

_Flags = npt.NDArray[np.bool_]


class LookupRows(NamedTuple):
    """Rows to look up in a target."""

    keys: pa.Table
    """The target's key columns, one row each."""
    custom_ids: Sequence[str]
    """The ids of their requests."""
    unsent: Mapping[int, str]
    """By index, why a row is not sent."""
    final_for: str | None
    """The answer model whose final outcomes count; see `settled`."""
    owner: RowOwner
    """The run that looks up. Its own outcomes do not count as final, because it may be built again and retry them.

    With an order, rows that a later run wrote are found as such; see `Found.later`.
    """
    renews: bool = False
    """Whether settled rows of runs of earlier data are found as such; see `Found.older`."""


class Found(NamedTuple):
    """What a target has of some rows."""

    codes: Codes
    """For each row, the code of an answer or a final outcome to exactly this request; see `answered`."""
    stale: Sequence[int]
    """The indexes of rows with a valid answer to another request."""
    rewritten: Sequence[int] = ()
    """The indexes of settled rows that this run takes back from the target, so that it must write them again."""
    of_others: Sequence[int] = ()
    """The indexes of settled rows that belong to another job."""
    later: Sequence[int] = ()
    """The indexes of rows that a run of later data has written, for another request: they would stay."""
    older: Sequence[int] = ()
    """The indexes of settled rows that a run of earlier data has written, if the run renews such rows."""


class TargetLookup(Protocol):
    """Finds what a target has of earlier runs. TableLookup documents the methods."""

    name: str
    target_id: str

    def look_up(self, requested: LookupRows) -> Found:
        """Find what the target has of these rows."""

    def stored(self, keys: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
        """Read these columns of the rows with these keys."""

    def orphaned(
        self, keys: Iterable[pa.Table], *, requested: pa.Table | None = None, order: str | None = None, remove: bool
    ) -> OrphanedRows:
        """Find the job's rows whose keys are not among these."""


class TableLookup:
    """Finds rows in a table, whichever run wrote them.

    A table that does not exist, or lacks the result columns, has none.

    job_id: the job whose rows are counted and removed; with None, or in a table without owners, all rows are.
    takes_over: whether a row without an owner becomes the job's when it is found answered.
    """

    def __init__(self, table: TableTarget, *, job_id: str | None = None, takes_over: bool = True) -> None:
        self.name = table.name
        self.target_id = table.target_id
        self.job_id = job_id
        self.found = 0
        """How many of the job's own rows were found, since `begin`."""
        self.replaced = self.taken_over = NO_DIGEST
        """Since `begin`, digests of the job's rows to be overwritten or removed, and of rows that became the job's."""
        self._table = table
        # Preparing the target reports an unsuitable table, before anything is paid.
        self._is_ours = table.is_there([*table.key, *_ASKED_FOR])
        self._has_final = table.is_there([_FINAL])
        self._has_owners = job_id is not None and table.is_there([*table.key, JOB_ID])
        self._takes_over = takes_over
        self._has_digests = False

    def begin(self) -> TableDigest | None:
        """Reset the counts, and return a digest of key, custom_id and status of all rows.

        None if the database does not compute digests.
        """
        self.found, self.replaced, self.taken_over = 0, NO_DIGEST, NO_DIGEST
        digests = self._table.digests(run_id="", job_id=self.job_id)
        self._has_digests = digests is not None
        return None if digests is None else digests.all_rows

    def look_up(self, requested: LookupRows) -> Found:
        """Find what the table has of these rows, whichever run or job wrote them."""
        keys, owner = requested.keys, requested.owner
        codes = np.zeros(keys.num_rows, np.uint8)
        if not self._is_ours:
            return Found(codes, [])
        found = self._table.find(keys, digests=self._has_digests)
        order = pa.scalar(owner.order, pa.string())
        is_later = _is_true(pc.greater(found[_ORDER], order))
        is_older = _is_true(pc.less(found[_ORDER], order)) & requested.renews
        if not self._has_final:
            found = found.set_column(
                found.schema.get_field_index(_ORDER), _ORDER, pa.nulls(found.num_rows, pa.string())
            )
        indexes = found["index"].to_numpy()
        custom_ids = pa.array(requested.custom_ids, pa.string()).take(found["index"])
        is_same = _is_true(pc.equal(found["custom_id"], custom_ids))
        if requested.unsent:
            reasons = pa.array([requested.unsent.get(index) for index in indexes.tolist()], pa.string())
            is_same |= _is_true(pc.and_(pc.is_null(found["custom_id"]), pc.equal(found["error"], reasons)))
        is_of_run = pc.and_kleene(
            pc.equal(found["run_id"], owner.run_id), pc.equal(pc.coalesce(found[JOB_ID], owner.job_id), owner.job_id)
        )
        made = settled(found, requested.final_for)
        made[~is_same | (_is_true(is_of_run) & (made != ANSWERED))] = 0
        codes[indexes] = made
        is_settled = made != 0
        is_later &= ~is_settled
        is_own = self._is_own(found)
        self.found += int(np.count_nonzero(is_own))
        self.replaced = self.replaced.joined_with(self._digest_of(found, is_own & ~is_settled & ~is_later))
        is_unowned = is_settled & _is_true(pc.is_null(found[JOB_ID]))
        if self._has_owners and self._takes_over and is_unowned.any():
            self._table.take_over(keys.take(pa.array(indexes[is_unowned])), job_id=self.job_id or "")
            self.taken_over = self.taken_over.joined_with(self._digest_of(found, is_unowned))
            is_own |= is_unowned
        stale = indexes[_is_true(is_answered(found)) & ~is_same]
        return Found(
            codes,
            stale.tolist(),
            of_others=indexes[is_settled & ~is_own].tolist(),
            later=indexes[is_later].tolist(),
            older=indexes[is_settled & is_older].tolist(),
        )

    def check_keys(self, keys: Keys, values: Mapping[str, KeyValues], requested: pa.Table | None) -> None:
        """Raise ConfigError if the table takes two keys for one, or cannot hold one; see TableTarget."""
        self._table.check_keys(keys, values, requested=requested)

    def stored(self, keys: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
        """Read these columns of the rows with these keys, and `index`, the index of the row's key.

        No rows if the table lacks one of the columns, or if a value does not fit the column's type.
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
        """Find the job's rows whose keys are not among these, and remove them if `remove` is set.

        keys: those of all rows of the source, a few thousand at a time. They are not held.
        requested: the values that the other columns of the target's key may have, if there are any; rows with other
            values do not count.
        order: the run's order; rows that a later run wrote do not count either.
        """
        if not self._is_ours:
            return OrphanedRows(0, "", removed=False)
        orphaned, removed = self._table.leave_only(
            keys, requested=requested, job_id=self.job_id, order=order, remove=remove
        )
        self.replaced = self.replaced.joined_with(removed)
        return orphaned


def typed(stored: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    """Cast the rows to `index` and these columns; no rows if a value does not fit its column's type."""
    schema = pa.schema([pa.field("index", pa.int64()), *fields])
    try:
        return stored.select(schema.names).cast(schema) if stored.num_rows else schema.empty_table()
    except pa.ArrowException:
        return schema.empty_table()


def _is_true(conditions: pa.ChunkedArray) -> _Flags:
    made: _Flags = pc.fill_null(conditions, fill_value=False).to_numpy()
    return made
