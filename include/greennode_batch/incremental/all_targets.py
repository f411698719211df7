"""All targets: what a job's targets have answered together. What one has and another lacks is copied, at no cost.

A good answer counts for more than a final outcome to the same request: a target that has only that gets the answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from greennode_batch.incremental.answered import ANSWERED, Codes
from greennode_batch.incremental.target_lookup import LookupRows, TargetLookup
from greennode_batch.job.columns import RESULT_COLUMNS
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.row_owner import RowOwner

_Flags = npt.NDArray[np.bool_]

# The other columns of a target are the row's own in the run that copies it: its key, what it carries, whose it is.
_COPIED = {
    **dict.fromkeys(RESULT_COLUMNS, pa.string()),
    "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "completed_at": pa.timestamp("us", tz="UTC"),
    "greennode_final": pa.string(),
}


class Copies(NamedTuple):
    """Rows whose answer, or final outcome, some targets have and others lack.

    indexes: of the rows, in their order. answers: what is stored of each. into: the ids of the targets that lack it.
    """

    indexes: Sequence[int]
    answers: pa.Table
    into: tuple[str, ...]


class LookedUp(NamedTuple):
    """What becomes of some rows.

    codes: of those that every target has, an answer or a final outcome; 0 for others. copies: some have it. requested:
    the places of those that none can give. answered_before: those of these that have a good answer in some target, to
    this request or another. of_others: the places of those that every target has, the first of them as another job's
    row.
    """

    codes: Codes
    copies: Sequence[Copies]
    requested: Sequence[int]
    answered_before: Sequence[int]
    of_others: Sequence[int]


class AllTargets:
    """The targets of a job, one or several.

    answer_fields: the columns of an answer. final_for, owner: see LookupRows.
    """

    def __init__(
        self,
        targets: Sequence[TargetLookup],
        answer_fields: Sequence[pa.Field],
        *,
        final_for: str | None,
        owner: RowOwner,
    ) -> None:
        self._targets = list(targets)
        names = [name for name in _COPIED if name not in {"model", "run_id"}]
        self._fields = [*answer_fields, *(pa.field(name, _COPIED[name]) for name in names)]
        self._final_for = final_for
        self._owner = owner

    def look_up(self, keys: pa.Table, custom_ids: Sequence[str], unsent: Mapping[int, str]) -> LookedUp:
        """What becomes of these rows; see LookupRows for what is given."""
        given = LookupRows(keys, custom_ids, unsent, self._final_for, self._owner)
        found = [target.look_up(given) for target in self._targets]
        codes = np.stack([one.codes for one in found])
        is_good = codes == ANSWERED
        has = np.where(is_good.any(axis=0), is_good, codes != 0)
        stays = has.copy()
        for flags, one in zip(stays, found, strict=True):
            flags[list(one.rewritten)] = False
        unchanged: _Flags = stays.all(axis=0)
        # What is not sent costs nothing, so each target gets its row as the build makes it.
        open_rows = has.any(axis=0) & ~unchanged
        open_rows[list(unsent)] = False
        copies = list(self._copies(keys, open_rows, has, stays))
        requested = ~unchanged
        for copied in copies:
            requested[copied.indexes] = False
        is_answered = is_good.any(axis=0)
        is_answered[[index for one in found for index in one.stale]] = True
        return LookedUp(
            codes=np.where(unchanged, codes[0], 0),
            copies=copies,
            requested=_indexes(requested),
            answered_before=_indexes(requested & is_answered),
            of_others=[index for index in found[0].of_others if unchanged[index]],
        )

    def answered(self, keys: pa.Table, custom_ids: Sequence[str]) -> Collection[int]:
        """Which of these rows have a good answer in some target, to this request or another: their places."""
        is_answered = np.zeros(keys.num_rows, np.bool_)
        for target in self._targets:
            found = target.look_up(LookupRows(keys, custom_ids, {}, None, self._owner))
            is_answered |= found.codes == ANSWERED
            is_answered[list(found.stale)] = True
        return _indexes(is_answered)

    def orphaned(
        self,
        keys: Callable[[], Iterable[pa.Table]],
        *,
        requested: pa.Table | None = None,
        order: str | None = None,
        remove: bool,
    ) -> OrphanedRows:
        """The rows whose keys are not among these, of the target that has the most of them; see TableLookup.

        Where any were removed, of the target that most were removed from: a dataset beside a table keeps its own. keys:
        gives them once for each target.
        """
        orphaned = [
            target.orphaned(keys(), requested=requested, order=order, remove=remove) for target in self._targets
        ]
        return max(orphaned, key=lambda one: (one.removed, one.count))

    def _copies(self, keys: pa.Table, open_rows: _Flags, has: _Flags, stays: _Flags) -> Iterator[Copies]:
        """The open rows by the targets that lack them."""
        for lacks in np.unique(~stays[:, open_rows], axis=1).T if open_rows.any() else ():
            into = tuple(itertools.compress((target.target_id for target in self._targets), lacks))
            wanted = open_rows & (~stays == lacks[:, None]).all(axis=0)
            for number, target in enumerate(self._targets):
                indexes = np.flatnonzero(wanted & has[number])
                if indexes.size:
                    # A database gives rows in any order.
                    stored = target.stored(keys.take(pa.array(indexes)), self._fields).sort_by("index")
                    indexes = indexes[stored["index"].to_numpy()]
                    wanted[indexes] = False
                    yield Copies(indexes.tolist(), stored.drop_columns("index"), into)


def _indexes(flags: _Flags) -> list[int]:
    made: list[int] = np.flatnonzero(flags).tolist()
    return made
