"""Reports: the pages that tasks of a run have made, found and read in the folders of that run alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import RunFolder, fresh_names, local_path
from greennode_batch.state.run_identity import find_run, identity_of

REPORT_NAMES = {"try.html": "Try", "page.html": "Page", "evaluation.html": "Evaluation"}
"""What build_requests writes in a try, and GreenNodePageOperator and GreenNodeEvaluationReportOperator, and what links
to them say."""
_ATTEMPT = re.compile(r"(?:.*\.)?attempt_\d+")


class Report(msgspec.Struct, frozen=True):
    """A page of a run. group: the task group of the task that made it."""

    group: str
    name: str


def groups_of(task_ids: Iterable[str]) -> list[str]:
    """The task groups that may have made a page, by the tasks of a run."""
    groups = {task_id.rpartition(".")[0] for task_id in task_ids}
    return sorted(group for group in groups if not _ATTEMPT.fullmatch(group))


def find_reports(root: UPath, dag_id: str, run_id: str, groups: Iterable[str]) -> list[Report]:
    """The existing pages of these groups."""
    found = []
    for group in groups:
        run = _folder(root, dag_id, run_id, group)
        names = set(fresh_names(run.path)) if run is not None else set()
        found += [Report(group, name) for name in REPORT_NAMES if name in names]
    return found


def read_report(root: UPath, dag_id: str, run_id: str, group: str, name: str) -> bytes | None:
    """A page, or None if this run has none with this name."""
    run = _folder(root, dag_id, run_id, group) if name in REPORT_NAMES else None
    if run is None:
        return None
    path = run.path / name
    local = local_path(path)
    if local is not None and local.resolve().parent != local.parent.resolve():
        return None  # a link to somewhere else
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _folder(root: UPath, dag_id: str, run_id: str, group: str) -> RunFolder | None:
    """The run's folder, unless it is another's, or cannot be read."""
    try:
        run = find_run(root, dag_id, run_id, group=group)
        identity = identity_of(run)
    except ConfigError:
        return None
    is_its = identity is not None and (identity.dag_id, identity.run_id) == (dag_id, run_id)
    return run if is_its else None
