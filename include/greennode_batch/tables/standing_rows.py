"""Standing rows: which rows of a table stay as they are when a run writes the same keys.

A row stays if a later run wrote it, or if it is a good answer and the new row is none: to the same request, or to
another one whose outcome a later run may still improve. A run writes over rows that are its own whatever they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from greennode_batch.state.row_status import RowStatus

_NEEDED = {"status", "custom_id", "run_id"}
_JOB, _ORDER, _FINAL = "greennode_job", "greennode_order", "greennode_final"


def stands(names: Collection[str], old: Callable[[str], str], new: Callable[[str], str]) -> str | None:
    """The SQL condition under which a row stays; None if all rows are written over.

    names: the columns that are written. old, new: a column's value in the table's row and in the new one.
    """
    if not set(names) >= _NEEDED:
        return None

    def differs(name: str) -> str:
        return f"{old(name)} <> {new(name)}"

    good = f"'{RowStatus.SUCCEEDED.value}'"
    is_others = f"({differs('run_id')} OR {differs(_JOB)})" if _JOB in names else differs("run_id")
    is_kept = f"{old('custom_id')} = {new('custom_id')}"
    if _FINAL in names:
        is_kept = f"({is_kept} OR {new(_FINAL)} IS NULL)"
    rule = f"{old('status')} = {good} AND {new('status')} <> {good} AND {is_others} AND {is_kept}"
    return f"({old(_ORDER)} > {new(_ORDER)} OR {rule})" if _ORDER in names else f"({rule})"
