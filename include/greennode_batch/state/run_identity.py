"""Run identity: run.json, which run a folder of staging belongs to; removed.json, when it was emptied."""

from __future__ import annotations

import datetime

from upath import UPath

from greennode_batch.staging.folders import RunFolder, fresh_names, read_json, run_folder, write_json
from greennode_batch.state.document import Document

_IDENTITY = "run.json"


class RunIdentity(Document, frozen=True):
    """run.json: the run that a folder belongs to. The folder's name is made safe, and does not tell.

    conn_id: the connection that its batches are made with, where that is noted. group: the task group of its pipeline,
    empty for a DAG of its own; None in a folder that an earlier version has begun.
    """

    dag_id: str
    run_id: str
    conn_id: str | None = None
    group: str | None = None

    def __str__(self) -> str:
        return f"{self.dag_id} {self.run_id}"


class RemovedRun(Document, frozen=True):
    """removed.json: what retention leaves of a run, so that nobody pays for it again unawares. Epoch seconds."""

    removed_at: float

    @property
    def day(self) -> datetime.date:
        """The day of it, in UTC."""
        return datetime.datetime.fromtimestamp(self.removed_at, tz=datetime.UTC).date()


def find_run(root: UPath, dag_id: str, run_id: str, *, group: str = "") -> RunFolder:
    """The folder of a run of a DAG, or of a task group's pipeline in it.

    Earlier versions gave group `b` of DAG `a` and DAG `a.b` one folder. A run that began there stays there, and another
    run of the same id that would have had it has a folder apart.
    """
    if group:
        earlier = run_folder(root, f"{dag_id}.{group}", run_id)
        return earlier if _owner_of(earlier) in {dag_id, _ANYBODY} else run_folder(root, dag_id, run_id, group=group)
    run = run_folder(root, dag_id, run_id)
    is_free = "." not in dag_id or _owner_of(run) in {dag_id, _ANYBODY, None}
    return run if is_free else run_folder(root, dag_id, run_id, group="")


_ANYBODY = ""


def _owner_of(run: RunFolder) -> str | None:
    """The DAG that has a folder; None where there is none, "" where nothing tells, as after retention."""
    if not fresh_names(run.path):
        return None
    identity = identity_of(run)
    return identity.dag_id if identity else _ANYBODY


def note_run(run: RunFolder, *, dag_id: str, run_id: str, conn_id: str | None = None, group: str | None = None) -> None:
    """Write down whose folder this is. Call it whenever the run is begun, or begun again: it is young from then on."""
    write_json(run.path / _IDENTITY, RunIdentity(dag_id, run_id, conn_id, group))


def identity_of(run: RunFolder) -> RunIdentity | None:
    """Whose folder this is, or None where that is not written down. Raises ConfigError for what cannot be read."""
    return read_json(run.path / _IDENTITY, RunIdentity)
