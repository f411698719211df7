"""Run identity: run.json, which run a folder of staging belongs to; removed.json, when it was emptied."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator

import msgspec
from upath import UPath

from greennode_batch.staging.folders import RunFolder, fresh_names, read_json, run_folder, write_json
from greennode_batch.state.document import Document

_IDENTITY = "run.json"


class RunIdentity(Document, frozen=True):
    """run.json: the run that a folder belongs to. The folder's name is made safe, and does not tell.

    conn_id: the connection that its batches are made with, where that is noted. group: the task group of its pipeline,
    empty for a DAG of its own; None in a folder that an earlier version has begun. began_at: when Airflow started the
    run, before it was ever cleared; epoch seconds. A run that was deleted there and made again has a separate folder
    beside it: `later`, in the first folder, is the latest one's name; `earlier`, in each other, that of the one before.
    is_dry_run: whether it was only to show what it would send.
    """

    dag_id: str
    run_id: str
    conn_id: str | None = None
    group: str | None = None
    began_at: float | None = None
    later: str | None = None
    earlier: str | None = None
    is_dry_run: bool = False

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
    run of the same id that would have had it has a folder apart. Of a run that was made again, the latest folder.
    """
    run = _first_folder(root, dag_id, run_id, group)
    identity = identity_of(run)
    return RunFolder(run.path.parent / identity.later) if identity and identity.later else run


def make_again(run: RunFolder, identity: RunIdentity, *, began_at: float) -> RunFolder:
    """The folder of a run that has the id of one that Airflow has no more, whose folder stays as it is.

    Every caller gets the same folder for the same run.
    """
    again = run.made_again(hashlib.blake2b(str(began_at).encode(), digest_size=6).hexdigest())
    note = msgspec.structs.replace(identity, began_at=began_at, earlier=run.path.name, later=None)
    write_json(again.path / _IDENTITY, note)
    first = RunFolder(run.path.parent / run.name)
    before = identity if first.path == run.path else identity_of(first)
    if before is not None:
        write_json(first.path / _IDENTITY, msgspec.structs.replace(before, later=again.path.name))
    return again


_ANYBODY = ""


def _first_folder(root: UPath, dag_id: str, run_id: str, group: str) -> RunFolder:
    if group:
        earlier = run_folder(root, f"{dag_id}.{group}", run_id)
        return earlier if _owner_of(earlier) in {dag_id, _ANYBODY} else run_folder(root, dag_id, run_id, group=group)
    run = run_folder(root, dag_id, run_id)
    is_free = "." not in dag_id or _owner_of(run) in {dag_id, _ANYBODY, None}
    return run if is_free else run_folder(root, dag_id, run_id, group="")


def _owner_of(run: RunFolder) -> str | None:
    """The DAG that has a folder; None where there is none, "" if nothing says which, as after retention."""
    if not fresh_names(run.path):
        return None
    identity = identity_of(run)
    return identity.dag_id if identity else _ANYBODY


def note_run(
    run: RunFolder,
    *,
    dag_id: str,
    run_id: str,
    conn_id: str | None = None,
    group: str | None = None,
    began_at: float | None = None,
    is_dry_run: bool | None = None,
) -> None:
    """Write down whose folder this is. Call it whenever the run is begun, or begun again: it is young from then on.

    conn_id, is_dry_run: where they are None, what was noted before stays.
    """
    known = identity_of(run) or RunIdentity(dag_id, run_id)
    note = RunIdentity(
        dag_id,
        run_id,
        known.conn_id if conn_id is None else conn_id,
        group,
        began_at,
        earlier=known.earlier,
        is_dry_run=known.is_dry_run if is_dry_run is None else is_dry_run,
    )
    write_json(run.path / _IDENTITY, note)


def earlier_runs(run: RunFolder) -> Iterator[RunFolder]:
    """The folders of runs that had the id of this one before, the latest first."""
    identity = identity_of(run)
    while identity is not None and identity.earlier is not None:
        run = RunFolder(run.path.parent / identity.earlier)
        yield run
        identity = identity_of(run)


def identity_of(run: RunFolder) -> RunIdentity | None:
    """Whose folder this is, or None where that is not written down. Raises ConfigError for what cannot be read."""
    return read_json(run.path / _IDENTITY, RunIdentity)
