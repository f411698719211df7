"""Run identity: run.json, which run a folder of staging belongs to; removed.json, when it was emptied."""

from __future__ import annotations

import datetime

from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.document import Document

_IDENTITY = "run.json"


class RunIdentity(Document, frozen=True):
    """run.json: the run that a folder belongs to. The folder's name is made safe, and does not tell.

    conn_id: the connection that its batches are made with, where that is noted.
    """

    dag_id: str
    run_id: str
    conn_id: str | None = None

    def __str__(self) -> str:
        return f"{self.dag_id} {self.run_id}"


class RemovedRun(Document, frozen=True):
    """removed.json: what retention leaves of a run, so that nobody pays for it again unawares. Epoch seconds."""

    removed_at: float

    @property
    def day(self) -> datetime.date:
        """The day of it, in UTC."""
        return datetime.datetime.fromtimestamp(self.removed_at, tz=datetime.UTC).date()


def note_run(run: RunFolder, *, dag_id: str, run_id: str, conn_id: str | None = None) -> None:
    """Write down whose folder this is. Call it whenever the run is begun, or begun again: it is young from then on."""
    write_json(run.path / _IDENTITY, RunIdentity(dag_id, run_id, conn_id))


def identity_of(run: RunFolder) -> RunIdentity | None:
    """Whose folder this is, or None where that is not written down. Raises ConfigError for what cannot be read."""
    return read_json(run.path / _IDENTITY, RunIdentity)
