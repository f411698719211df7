"""Staged DAGs: which folders of the staging area belong to which DAG."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import RunFolder, fresh_names, safe_name
from greennode_batch.state.run_identity import find_run, identity_of

_SCAN_SECONDS = 15.0
# Only the run of a job has these files; other DAGs may keep theirs in staging as well.
_JOB_FILES = re.compile(r"(?:plan|building|report)(?:\.\d+)?\.json|parts")
_RUNS_SCANNED = 5


class Pipeline(NamedTuple):
    """One job of a DAG. group: the task group that has its tasks; empty if the whole DAG is the job's.

    folder: a folder with its runs; earlier runs may be in another one.
    """

    dag_id: str
    group: str
    folder: str

    def run_folder(self, root: UPath, run_id: str) -> RunFolder:
        """The folder of one of its runs."""
        if self.group == self.folder:  # an earlier version's: its name does not show the group
            return RunFolder(root / self.folder / safe_name(run_id))
        try:
            return find_run(root, self.dag_id, run_id, group=self.group)
        except ConfigError:  # a file that cannot be read is shown as unreadable
            return RunFolder(root / self.folder / safe_name(run_id))


class StagedDags:
    """The jobs that have been run, by DAG. Lists the folders every 15 seconds; used by many threads."""

    def __init__(self, root: UPath, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._scanned_at = -_SCAN_SECONDS
        self._known: dict[str, Pipeline] = {}
        # Runs that retention has removed show nothing more; each is read once.
        self._removed: set[tuple[str, str]] = set()

    def by_dag(self) -> Mapping[str, tuple[Pipeline, ...]]:
        """The jobs of each DAG that has files in staging."""
        with self._lock:
            if self._clock() - self._scanned_at >= _SCAN_SECONDS:
                self._scan()
                self._scanned_at = self._clock()
            known = {(one.dag_id, one.group): one for one in self._known.values()}
        found: dict[str, tuple[Pipeline, ...]] = {}
        for pipeline in sorted(known.values()):
            found[pipeline.dag_id] = (*found.get(pipeline.dag_id, ()), pipeline)
        return found

    def _scan(self) -> None:
        names = set(fresh_names(self.root))
        for gone in self._known.keys() - names:
            del self._known[gone]
        for name in names - self._known.keys():
            # The answer cache of a table lies beside the DAGs' folders, and is not a DAG.
            if not name.startswith(".") and (pipeline := self._pipeline(name)) is not None:
                self._known[name] = pipeline

    def _pipeline(self, folder: str) -> Pipeline | None:
        """The job whose runs a folder has, read from one of them: the folder's name is made safe and may differ."""
        looked_at = 0
        for run_name in sorted(fresh_names(self.root / folder), reverse=True):
            if run_name.startswith(".") or (folder, run_name) in self._removed:
                continue
            if looked_at == _RUNS_SCANNED:
                return None
            run = RunFolder(self.root / folder / run_name)
            names = fresh_names(run.path)
            if run.removed.name in names and not any(name.startswith("plan.") for name in names):
                self._removed.add((folder, run_name))
                continue
            looked_at += 1
            try:
                identity = identity_of(run)
            except ConfigError:
                continue
            # A job records its connection first, and may fail before it writes anything else.
            if identity is None or not (identity.conn_id or any(map(_JOB_FILES.fullmatch, names))):
                continue
            dag_id = identity.dag_id
            if identity.group is not None:
                return Pipeline(dag_id, identity.group, folder)
            if safe_name(dag_id) == folder:
                return Pipeline(dag_id, "", folder)
            if folder.startswith(f"{dag_id}."):
                return Pipeline(dag_id, folder.removeprefix(f"{dag_id}."), folder)
            return Pipeline(dag_id, folder, folder)
        return None
