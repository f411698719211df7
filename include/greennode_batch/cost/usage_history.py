"""Usage history: the tokens that a job's requests actually used, for the estimates of later runs.

`.usage.json` lies beside the folders of the job's runs (no run's folder has a name that begins with a dot) and remains
when they are removed. It holds the latest runs of each model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.canaries import Canary, read_canaries
from greennode_batch.state.cost_estimate import Usage
from greennode_batch.state.document import or_before
from greennode_batch.state.run_usage import RunUsage, UsageHistory

log = logging.getLogger(__name__)

_KEPT_RUNS = 10


def usage_path(run: RunFolder) -> UPath:
    """The path of the job's usage history."""
    return run.path.parent / ".usage.json"


def seen_usage(
    run: RunFolder, models: Iterable[str], *, run_id: str, prompt_hash: str, is_counted: bool
) -> dict[str, Usage]:
    """Find, by model, what earlier runs of the job used; if there are none, what the first requests of this run used.

    If some earlier runs had the same prompt, only those count.
    """
    before = [one for one in _read(run) if one.run_id != run_id and one.is_counted == is_counted]
    canaries = [one for one in read_canaries(run) if one.prompt_tokens]
    seen: dict[str, Usage] = {}
    for model in models:
        of_model = [one for one in before if one.model == model]
        found = [one for one in of_model if one.prompt_hash == prompt_hash] or of_model
        if found:
            basis = f"by {len(found):,} earlier {'run' if len(found) == 1 else 'runs'}"
            seen[model] = _usage(found, sum(one.requests for one in found), basis)
        elif requested := [one for one in canaries if one.model == model and one.is_counted == is_counted]:
            basis = "by the first request" if len(requested) == 1 else f"by the first {len(requested):,} requests"
            seen[model] = _usage(requested, len(requested), basis)
    return seen


def note_usage(run: RunFolder, used: Sequence[RunUsage]) -> None:
    """Record what a run used, and replace any earlier record of the same run."""
    runs = _read(run)
    new = {(one.run_id, one.model) for one in used}
    kept = [one for one in runs if (one.run_id, one.model) not in new]
    by_model: dict[str, list[RunUsage]] = {}
    for one in (*kept, *(one for one in used if one.requests)):
        by_model.setdefault(one.model, []).append(one)
    latest = tuple(one for runs in by_model.values() for one in runs[-_KEPT_RUNS:])
    write_json(usage_path(run), UsageHistory(latest))


def _read(run: RunFolder) -> tuple[RunUsage, ...]:
    try:
        said = read_json(usage_path(run), or_before(UsageHistory, tuple[RunUsage, ...]))
    except ConfigError as error:
        # The history only improves estimates, and the next report creates a new one.
        log.warning("%s; estimates do not use what earlier runs used", error)
        return ()
    return said.runs if isinstance(said, UsageHistory) else said or ()


def _usage(parts: Sequence[RunUsage] | Sequence[Canary], requests: int, basis: str) -> Usage:
    return Usage(
        requests=requests,
        estimated_prompt_tokens=sum(one.estimated_prompt_tokens for one in parts),
        prompt_tokens=sum(one.prompt_tokens for one in parts),
        completion_tokens=sum(one.completion_tokens for one in parts),
        basis=basis,
    )
