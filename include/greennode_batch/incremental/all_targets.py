"""All targets: what a job's targets have answered together.

An answer that one target has and another lacks is copied, at no cost. A valid answer outranks a final outcome of the
same request: a target that has only the outcome gets the answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from greennode_batch.incremental.answered import ANSWERED, Codes
from greennode_batch.incremental.target_lookup import Found, LookupRows, TargetLookup
from greennode_batch.job.columns import RESULT_COLUMNS
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.row_owner import RowOwner

_Flags = npt.NDArray[np.bool_]

# The run that copies a row supplies the other columns: its key, its carried columns and its owner.
_COPIED = {
    **dict.fromkeys(RESULT_COLUMNS, pa.string()),
    "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "completed_at": pa.timestamp("us", tz="UTC"),
    "greennode_final": pa.string(),
}


class Copies(NamedTuple):
    """Rows whose answer, or final outcome, some targets have and others lack."""

    indexes: Sequence[int]
    """The indexes of the rows, in order."""
    answers: pa.Table
    """What is stored for each."""
    into: tuple[str, ...]
    """The ids of the targets that lack it."""


class LookedUp(NamedTuple):
    """What the targets have of some rows."""

    codes: Codes
    """The code of each row that every target has, with an answer or a final outcome; 0 for the others."""
    copies: Sequence[Copies]
    """The rows that only some targets have."""
    requested: Sequence[int]
    """The indexes of rows that no target can supply."""
    answered_before: Sequence[int]
    """The indexes of those that have a valid answer in some target, to this request or another."""
    of_others: Sequence[int]
    """The indexes of rows that every target has, but that belong to another job in the first target."""
    superseded: int
    """How many rows every target has, and some of them from a run of later data, for another request."""


class AllTargets:
    """The targets of a job, one or several.

    answer_fields: the columns of an answer.
    final_for, owner, renews: see LookupRows. A row of a run of earlier data is copied into the target that has it.
    """

    def __init__(
        self,
        targets: Sequence[TargetLookup],
        answer_fields: Sequence[pa.Field],
        *,
        final_for: str | None,
        owner: RowOwner,
        renews: bool = False,
    ) -> None:
        self._targets = list(targets)
        names = [name for name in _COPIED if name not in {"model", "run_id"}]
        self._fields = [*answer_fields, *(pa.field(name, _COPIED[name]) for name in names)]
        self._final_for = final_for
        self._owner = owner
        self._renews = renews

    def look_up(self, keys: pa.Table, custom_ids: Sequence[str], unsent: Mapping[int, str]) -> LookedUp:
        """Find what all targets have of these rows. For the arguments, see LookupRows."""
        given = LookupRows(keys, custom_ids, unsent, self._final_for, self._owner, self._renews)
        found = [target.look_up(given) for target in self._targets]
        codes = np.stack([one.codes for one in found])
        is_good = codes == ANSWERED
        has = np.where(is_good.any(axis=0), is_good, codes != 0)
        stays = has.copy()
        for flags, one in zip(stays, found, strict=True):
            flags[list(one.rewritten)] = False
            flags[list(one.later)] = True
        is_there = stays.all(axis=0)
        for flags, one in zip(stays, found, strict=True):
            flags[list(one.older)] = False
        is_later = _is_later(found, keys.num_rows)
        unchanged: _Flags = stays.all(axis=0)
        # A row that is not sent costs nothing, so each target gets it as the build makes it.
        open_rows = has.any(axis=0) & ~unchanged
        open_rows[list(unsent)] = False
        copies = list(self._copies(keys, open_rows, has, stays))
        requested = ~unchanged
        for copied in copies:
            requested[copied.indexes] = False
        # What a target does not give back stays there as it is.
        unchanged |= requested & is_there
        requested &= ~unchanged
        is_answered = is_good.any(axis=0)
        is_answered[[index for one in found for index in one.stale]] = True
        return LookedUp(
            codes=np.where(unchanged & ~is_later, codes[0], 0),
            copies=copies,
            requested=_indexes(requested),
            answered_before=_indexes(requested & is_answered),
            of_others=[index for index in found[0].of_others if unchanged[index]],
            superseded=int(np.count_nonzero(unchanged & is_later)),
        )

    def answered(self, keys: pa.Table, custom_ids: Sequence[str]) -> tuple[Collection[int], Collection[int]]:
        """The indexes of rows that have a valid answer in some target, to this request or another.

        And those of the rows that every target has from a run of later data.
        """
        found = [target.look_up(LookupRows(keys, custom_ids, {}, None, self._owner)) for target in self._targets]
        is_answered = np.zeros(keys.num_rows, np.bool_)
        for one in found:
            is_answered |= one.codes == ANSWERED
            is_answered[list(one.stale)] = True
        return _indexes(is_answered), set.intersection(*(set(one.later) for one in found))

    def orphaned(
        self,
        keys: Callable[[], Iterable[pa.Table]],
        *,
        requested: pa.Table | None = None,
        order: str | None = None,
        remove: bool,
    ) -> OrphanedRows:
        """Find the orphaned rows of each target, and return those of the target that has the most; see TableLookup.

        keys: gives the keys of the source once for each target.
        If rows were removed, the result is that of the target that most were removed from: a dataset beside a table
        keeps its rows.
        """
        orphaned = [
            target.orphaned(keys(), requested=requested, order=order, remove=remove) for target in self._targets
        ]
        return max(orphaned, key=lambda one: (one.removed, one.count))

    def _copies(self, keys: pa.Table, open_rows: _Flags, has: _Flags, stays: _Flags) -> Iterator[Copies]:
        """Group the open rows by the targets that lack them."""
        for lacks in np.unique(~stays[:, open_rows], axis=1).T if open_rows.any() else ():
            into = tuple(itertools.compress((target.target_id for target in self._targets), lacks))
            wanted = open_rows & (~stays == lacks[:, None]).all(axis=0)
            for number, target in enumerate(self._targets):
                indexes = np.flatnonzero(wanted & has[number])
                if indexes.size:
                    # A database returns rows in any order.
                    stored = target.stored(keys.take(pa.array(indexes)), self._fields).sort_by("index")
                    indexes = indexes[stored["index"].to_numpy()]
                    wanted[indexes] = False
                    yield Copies(indexes.tolist(), stored.drop_columns("index"), into)


def _is_later(found: Sequence[Found], rows: int) -> _Flags:
    made = np.zeros(rows, np.bool_)
    for one in found:
        made[list(one.later)] = True
    return made


def _indexes(flags: _Flags) -> list[int]:
    made: list[int] = np.flatnonzero(flags).tolist()
    return made
