"""Run identity: run.json says which run a staging folder belongs to, removed.json when retention emptied it."""

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
    """run.json: the run that a folder belongs to. The folder's name does not show it, because it has only safe letters.

    If a run is deleted in Airflow and made again, the new run gets a separate folder beside the first one.
    """

    dag_id: str
    run_id: str
    conn_id: str | None = None
    """The connection that the run's batches are created with, if recorded."""
    group: str | None = None
    """The task group of the pipeline; empty if the pipeline is the whole DAG, None in a folder of an earlier version.
    """
    began_at: float | None = None
    """When Airflow first started the run, in epoch seconds. Clearing the run does not change it."""
    later: str | None = None
    """Only in the first folder of a run that was made again: the name of its latest folder."""
    earlier: str | None = None
    """In every later folder: the name of the folder before it."""
    is_dry_run: bool = False
    """Whether the run only shows what it would send."""
    is_try: bool = False
    """Whether the run only shows the live answers to its first rows."""

    def __str__(self) -> str:
        return f"{self.dag_id} {self.run_id}"


class RemovedRun(Document, frozen=True):
    """removed.json: what retention leaves of a run, so that nobody pays for the run again by mistake."""

    removed_at: float
    """Epoch seconds."""

    @property
    def day(self) -> datetime.date:
        """The day of the removal, in UTC."""
        return datetime.datetime.fromtimestamp(self.removed_at, tz=datetime.UTC).date()


def find_run(root: UPath, dag_id: str, run_id: str, *, group: str = "") -> RunFolder:
    """Find the folder of a run of a DAG, or of a task group's pipeline in that DAG.

    Earlier versions gave group `b` of DAG `a` and DAG `a.b` the same folder. A run that began there stays there, and
    the other run gets a separate folder. If a run was made again, this is its latest folder.
    """
    run = _first_folder(root, dag_id, run_id, group)
    identity = identity_of(run)
    return RunFolder(run.path.parent / identity.later) if identity and identity.later else run


def make_again(run: RunFolder, identity: RunIdentity, *, began_at: float) -> RunFolder:
    """Make a folder for a run whose id an earlier run had, which Airflow has deleted. The earlier folder stays.

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
    """The DAG that owns a folder; None if there is no folder, "" if nothing records the DAG, as after retention."""
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
    is_try: bool | None = None,
) -> None:
    """Record which run owns the folder. Call it each time the run starts: retention counts from then on.

    conn_id, is_dry_run, is_try: None keeps what was recorded before.
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
        is_try=known.is_try if is_try is None else is_try,
    )
    write_json(run.path / _IDENTITY, note)


def earlier_runs(run: RunFolder) -> Iterator[RunFolder]:
    """Yield the folders of earlier runs with this run's id, latest first."""
    identity = identity_of(run)
    while identity is not None and identity.earlier is not None:
        run = RunFolder(run.path.parent / identity.earlier)
        yield run
        identity = identity_of(run)


def identity_of(run: RunFolder) -> RunIdentity | None:
    """Read which run owns the folder; None if that is not recorded. Raises ConfigError for an unreadable run.json."""
    return read_json(run.path / _IDENTITY, RunIdentity)
