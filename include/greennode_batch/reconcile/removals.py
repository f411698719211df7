"""Removals: how many rows later runs of a job have removed from its targets, for these had left the source."""

from __future__ import annotations

from collections import Counter

from greennode_batch.staging.folders import RunFolder, fresh_names, numbered, read_json
from greennode_batch.state.plan import Plan


def removed_later(run: RunFolder, plan: Plan) -> Counter[str]:
    """How many rows, by the run that has removed them. Reads the plans of all runs beside this one."""
    removed: Counter[str] = Counter()
    for name in fresh_names(run.path.parent):
        other = run.path.parent / name
        names = fresh_names(other) if other != run.path and not name.startswith(".") else []
        # A later build of that run finds nothing left to remove.
        for made in numbered(names, "plan").values():
            built = read_json(other / made, Plan)
            if built is not None and built.orphaned is not None and built.orphaned.removed and _is_later(built, plan):
                removed[built.run_id] += built.orphaned.count
    return removed


def _is_later(other: Plan, plan: Plan) -> bool:
    """Whether it is another run of the job that may remove what this one has written."""
    one, own = other.owner, plan.owner
    return one.job_id == own.job_id and (one.order or "") >= (own.order or "")
