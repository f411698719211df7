"""Retention: removes the files of old, finished runs from staging, except the report.

A folder's run.json names its run, and so shows whether the run is over. A folder without one is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import (
    RunFolder,
    fresh_names,
    remove_tree,
    safe_name,
    uncached,
    write_json,
    written_at,
)
from greennode_batch.state.run_identity import _IDENTITY, RemovedRun, RunIdentity, identity_of
from greennode_batch.state.stops import stops_of

log = logging.getLogger(__name__)


class StoredRun(NamedTuple):
    """A run in staging: its size, and when one of its files was last written (epoch seconds)."""

    folder: RunFolder
    identity: RunIdentity
    bytes: int
    written_at: float


def old_runs(root: UPath, *, before: float) -> Iterator[StoredRun]:
    """The runs in staging with no file written since `before` (epoch seconds) and no unread results."""
    for dag in _folders(root):
        for path in _folders(dag):
            stored = _stored(path)
            if stored is not None and stored.written_at < before and not _is_unread(stored.folder):
                yield stored


def remove_run(run: RunFolder, *, now: float, is_over: Callable[[], bool]) -> bool:
    """Remove a run's files except its report, and leave removed.json; False if the run has started again meanwhile.

    A run that starts checks for removed.json, and `is_over` is checked after that file is written: so either the run
    sees this removal, or the removal sees the run. Safe to call again after any end.
    """
    stopped_before = run.removed.exists()
    write_json(run.removed, RemovedRun(removed_at=now))
    over = False
    try:
        over = is_over()
    finally:
        if not over and not stopped_before:
            run.removed.unlink()
    if not over:
        return False
    kept = {run.report.name, run.removed.name}
    # run.json goes last: an interrupted removal is found by it, and completed.
    for name in sorted(fresh_names(run.path), key=lambda name: name == _IDENTITY):
        if name not in kept:
            remove_tree(run.path / name)
    return True


def _is_unread(run: RunFolder) -> bool:
    """Whether the run has paid answers that a corrected profile may still read."""
    return any(stop.kind == "unread_results" for stop in stops_of(run))


def _folders(path: UPath) -> list[UPath]:
    children = (path / name for name in sorted(fresh_names(path)))
    return [child for child in children if child.is_dir()]


def _stored(path: UPath) -> StoredRun | None:
    """The run in a folder; None if it is not the folder of a run, or the run is unknown."""
    try:
        identity = identity_of(RunFolder(path))
    except ConfigError as error:
        log.warning("%s. The folder is left alone", error)
        return None
    run = RunFolder(path)
    # A copy of a run's folder is not the run.
    if identity is None or run.name != safe_name(identity.run_id):
        return None
    files = _files(path)
    # If a run was made again, this file points to it: it stays as long as that one.
    last = max(_written(run, files), _written(run, _files(path.parent / identity.later) if identity.later else {}))
    return StoredRun(run, identity, sum(info.get("size") or 0 for info in files.values()), last)


_Files = Mapping[str, Mapping[str, Any]]


def _files(path: UPath) -> _Files:
    found: _Files = uncached(path).fs.find(path.path, detail=True)
    return found


def _written(run: RunFolder, files: _Files) -> float:
    written = (written_at(info) for name, info in files.items() if not name.endswith(f"/{run.removed.name}"))
    return max(written, default=0.0)
