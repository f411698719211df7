"""Usage: what the requests of a job have really used, so that the next estimate goes by it.

`.usage.json` lies beside the folders of a job's runs, of which none has a name that begins with a dot, and stays when
these are removed. It holds the last runs of each model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.canaries import read_canaries
from greennode_batch.state.document import or_before
from greennode_batch.state.estimate import Usage
from greennode_batch.state.run_usage import RunUsage, UsageHistory

log = logging.getLogger(__name__)

_KEPT_RUNS = 10


def usage_path(run: RunFolder) -> UPath:
    """Where it is kept."""
    return run.path.parent / ".usage.json"


def seen_usage(
    run: RunFolder, models: Iterable[str], *, run_id: str, prompt_hash: str, is_counted: bool
) -> dict[str, Usage]:
    """By model, what earlier runs of the job have used, else what the first requests of this one have.

    Where runs had the same prompt, others do not count.
    """
    before = [one for one in _read(run) if one.run_id != run_id and one.is_counted == is_counted]
    seen: dict[str, Usage] = {}
    for model in models:
        of_model = [one for one in before if one.model == model]
        found = [one for one in of_model if one.prompt_hash == prompt_hash] or of_model
        usage = _of_runs(found) if found else _of_first_requests(run, model, is_counted=is_counted)
        if usage is not None:
            seen[model] = usage
    return seen


def note_usage(run: RunFolder, used: Sequence[RunUsage]) -> None:
    """Write down what a run has used, in place of what was noted of it before."""
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
        # It makes estimates better, and is made anew by the next report.
        log.warning("%s; what earlier runs have used is not known", error)
        return ()
    return said.runs if isinstance(said, UsageHistory) else said or ()


def _of_runs(runs: Sequence[RunUsage]) -> Usage:
    return Usage(
        requests=sum(one.requests for one in runs),
        estimated_prompt_tokens=sum(one.estimated_prompt_tokens for one in runs),
        prompt_tokens=sum(one.prompt_tokens for one in runs),
        completion_tokens=sum(one.completion_tokens for one in runs),
        basis=f"by {len(runs):,} earlier {'run' if len(runs) == 1 else 'runs'}",
    )


def _of_first_requests(run: RunFolder, model: str, *, is_counted: bool) -> Usage | None:
    of_model = [one for one in read_canaries(run) if one.model == model and one.prompt_tokens]
    asked = [one for one in of_model if one.is_counted == is_counted]
    if not asked:
        return None
    return Usage(
        requests=len(asked),
        estimated_prompt_tokens=sum(one.estimated_prompt_tokens for one in asked),
        prompt_tokens=sum(one.prompt_tokens for one in asked),
        completion_tokens=sum(one.completion_tokens for one in asked),
        basis="by the first request" if len(asked) == 1 else f"by the first {len(asked):,} requests",
    )
