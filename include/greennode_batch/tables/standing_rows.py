"""Standing rows: which rows of a table stay as they are when a run writes the same keys.

A row stays if a later run wrote it. It also stays if it has a good answer and the new row has none, as long as both are
for the same request or the new outcome is not final. A run always overwrites its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from greennode_batch.state.row_status import RowStatus

_NEEDED = {"status", "custom_id", "run_id"}
_JOB, _ORDER, _FINAL = "greennode_job", "greennode_order", "greennode_final"


def stands(names: Collection[str], old: Callable[[str], str], new: Callable[[str], str]) -> str | None:
    """The SQL condition under which a row stays; None if all rows are overwritten.

    names: the columns that are written. old, new: give the SQL for a column of the existing row and of the new row.
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
