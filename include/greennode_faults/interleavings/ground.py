"""Ground: where a scene is played. One kind of store, staging that can be restored, an API and its clients."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from upath import UPath

from greennode_batch.api.async_client import AsyncGreenNodeClient
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.staging.exclusive import honours_conditions
from greennode_batch.staging.folders import RunFolder, run_folder
from greennode_faults.interleavings.bucket import HONOURS, IGNORES, Stored, bucket_path, contents, put_back
from greennode_faults.interleavings.counted_tokens import Tokens, counted_tokens
from greennode_faults.interleavings.live_loops import live_loops
from greennode_faults.interleavings.small_api import SmallApi, SmallApiTransport, Trouble
from greennode_faults.interleavings.storage_steps import file_steps
from greennode_faults.interleavings.workers import Crew, Schedule, VirtualClock, sleep, step, virtual_time

StoreKind = Literal["local disk", "S3", "S3 without conditions"]
LOCAL: StoreKind = "local disk"
STORES: tuple[StoreKind, ...] = (LOCAL, "S3", "S3 without conditions")
TABLE = "answers"
"""The name of the database's table."""
_BUCKETS = {"S3": HONOURS, "S3 without conditions": IGNORES}
_CLIENTS = 4
_STEPS_OF_SQL = ("BEGIN", "INSERT", "DELETE", "COMMIT", "ROLLBACK")
_MEMORY = "/dev/shm"  # noqa: S108 - Linux has it, in memory


@dataclass
class Ground:
    """clients: one for each worker, and a last one to finish the run."""

    store: StoreKind
    folder: Path
    root: UPath
    _tokens: Tokens
    clock: VirtualClock = field(default_factory=VirtualClock)
    api: SmallApi = field(init=False)
    clients: list[GreenNodeClient] = field(init=False)

    def __post_init__(self) -> None:
        """Connect the clients."""
        self.api = SmallApi(self.clock)
        self._transports = [SmallApiTransport(self.api) for _ in range(_CLIENTS)]
        self.clients = [
            GreenNodeClient(
                "https://api.test/v1", "key", transport=transport, sleep=sleep, clock=self.clock, max_tries=2
            )
            for transport in self._transports
        ]
        for client, transport in zip(self.clients, self._transports, strict=True):
            client.for_live_answers = partial(_live_client, transport)  # type: ignore[method-assign] # of this server

    def run(self, name: str = "run") -> RunFolder:
        """A run of the job, by name."""
        return run_folder(self.root, "job", name)

    @property
    def out(self) -> Path:
        """A target that is one file."""
        return self.folder / "out.parquet"

    @property
    def dataset(self) -> UPath:
        """A target that is a folder of files."""
        return self.root.parent / "dataset"

    def database(self) -> sqlite3.Connection:
        """A database for a target. A worker that finds it locked is refused at once.

        Steps are where a transaction begins, writes rows and ends: between these, other workers cannot see its
        statements.
        """
        connection = sqlite3.connect(self._database, timeout=0.0)
        connection.execute("PRAGMA synchronous = OFF")
        connection.set_trace_callback(_step_of_transaction)
        return connection

    def rows_of_table(self) -> list[Any]:
        """All rows of the database's table, in a fixed order."""
        if not self._database.exists():
            return []
        with closing(sqlite3.connect(self._database)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchall():
                return []
            return connection.execute(f"SELECT * FROM {TABLE} ORDER BY 1").fetchall()  # noqa: S608 - no foreign text

    @property
    def _database(self) -> Path:
        return self.folder / "database"

    def begin(self, trouble: Trouble) -> None:
        """Start over: nothing staged, nothing sent."""
        self._hold(SmallApi(self.clock, trouble), VirtualClock().now)
        self._store({}, {})

    def play(self, works: Sequence[Callable[[], None]], schedule: Schedule, *, seed: int) -> Crew:
        """Let workers work to their ends. seed: for the pauses of random length."""
        self._tokens.begin(seed)
        crew = Crew(works, schedule, self.clock)
        crew.run()
        return crew

    def contents(self) -> dict[str, bytes]:
        """All files in staging and of targets, except the database, by name."""
        files = _files(self.folder)
        files.pop(self._database.name, None)
        return files | {name: stored.data for name, stored in self._bucket().items()}

    def snapshot(self) -> Callable[[], None]:
        """Save what is stored and at the API now; the returned function restores it, any number of times."""
        now, kept = self.clock.now, self.api.kept()
        files, stored = _files(self.folder), self._bucket()

        def again() -> None:
            self._hold(kept(self.clock), now)
            self._store(files, stored)

        return again

    def _hold(self, api: SmallApi, now: float) -> None:
        self.api, self.clock.now = api, now
        for transport in self._transports:
            transport.api = api

    def _bucket(self) -> dict[str, Stored]:
        return {} if self.store == LOCAL else contents(_BUCKETS[self.store])

    def _store(self, files: Mapping[str, bytes], stored: Mapping[str, Stored]) -> None:
        if self.store != LOCAL:
            put_back(_BUCKETS[self.store], stored)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        for name, data in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _live_client(transport: SmallApiTransport, _max_connections: int) -> AsyncGreenNodeClient:
    return AsyncGreenNodeClient("https://api.test/v1", "key", transport=transport)


def _step_of_transaction(statement: str) -> None:
    if statement.startswith(_STEPS_OF_SQL):
        step(f"SQL {statement.partition('(')[0]}")


def is_locked(error: BaseException) -> bool:
    """Whether another worker is writing to the database."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _files(folder: Path) -> dict[str, bytes]:
    """The contents of all files below a folder, by their paths."""
    return {
        str((parent / name).relative_to(folder)): (parent / name).read_bytes()
        for parent, _, names in ((Path(parent), folders, names) for parent, folders, names in os.walk(folder))
        for name in names
    }


@contextmanager
def ground(store: StoreKind) -> Iterator[Ground]:
    """A ground of one kind of store, with virtual time for its workers."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="greennode-interleavings-", dir=memory) as name:
        folder = Path(name)
        root = (UPath(folder) if store == LOCAL else bucket_path(_BUCKETS[store])) / "staging"
        if store != LOCAL:
            # Found out once, before any worker starts.
            assert honours_conditions(root / "probe") == (store == "S3")
        with virtual_time(), live_loops(), counted_tokens() as tokens, file_steps(folder):
            yield Ground(store, folder, root, tokens)
