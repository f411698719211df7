"""Ground: where a scene is played. One kind of store, prepared staging that can be put back, an API and its clients."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.staging.exclusive import honours_conditions
from greennode_batch.staging.folders import RunFolder, run_folder
from greennode_faults.interleavings.bucket import HONOURS, IGNORES, bucket_path, contents, put_back
from greennode_faults.interleavings.small_api import SmallApi, SmallApiTransport, Trouble
from greennode_faults.interleavings.storage_steps import file_steps
from greennode_faults.interleavings.workers import Crew, Schedule, VirtualClock, sleep, virtual_time

StoreKind = Literal["local disk", "S3", "S3 without conditions"]
STORES: tuple[StoreKind, ...] = ("local disk", "S3", "S3 without conditions")
_BUCKETS = {"S3": HONOURS, "S3 without conditions": IGNORES}
_CLIENTS = 4


@dataclass
class Ground:
    """clients: one for each worker, and a last one for who finishes the run."""

    store: StoreKind
    folder: Path
    root: UPath
    clock: VirtualClock = field(default_factory=VirtualClock)
    api: SmallApi = field(init=False)
    clients: list[GreenNodeClient] = field(init=False)

    def __post_init__(self) -> None:
        """Connect the clients."""
        self.api = SmallApi(self.clock)
        self._transports = [SmallApiTransport(self.api) for _ in range(_CLIENTS)]
        self.clients = [
            GreenNodeClient("https://api.test/v1", "key", transport=transport, sleep=sleep, max_tries=2)
            for transport in self._transports
        ]

    @property
    def run(self) -> RunFolder:
        """The run that all work on."""
        return run_folder(self.root, "job", "run")

    @property
    def out(self) -> Path:
        """The target."""
        return self.folder / "out.parquet"

    def begin(self, trouble: Trouble) -> None:
        """Start over: nothing staged, nothing sent."""
        self.out.unlink(missing_ok=True)
        self.clock.now = VirtualClock().now
        self.api = SmallApi(self.clock, trouble)
        for transport in self._transports:
            transport.api = self.api
        self._clear()

    def play(self, works: Sequence[Callable[[], None]], schedule: Schedule) -> Crew:
        """Let workers work to their ends."""
        crew = Crew(works, schedule, self.clock)
        crew.run()
        return crew

    def _clear(self) -> None:
        if self.store == "local disk":
            shutil.rmtree(str(self.root), ignore_errors=True)
        else:
            put_back(_BUCKETS[self.store], {})

    def snapshot(self) -> Callable[[], None]:
        """Keep what is staged and at the API now; what is returned puts it back, as often as it is called."""
        api, now = self.api, self.clock.now
        kept = api.kept()
        if self.store == "local disk":
            # Files are replaced in staging, never changed: so a copy may be made of links.
            files = {path.relative_to(str(self.root)): path.read_bytes() for path in _files(Path(str(self.root)))}
        else:
            stored = contents(_BUCKETS[self.store])

        def again() -> None:
            self.out.unlink(missing_ok=True)
            self.clock.now = now
            self.api = kept(self.clock)
            for transport in self._transports:
                transport.api = self.api
            if self.store != "local disk":
                put_back(_BUCKETS[self.store], stored)
                return
            self._clear()
            for name, data in files.items():
                path = Path(str(self.root)) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

        return again


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def ground(store: StoreKind) -> Iterator[Ground]:
    """A ground of one kind of store, with virtual time for its workers."""
    with TemporaryDirectory(prefix="greennode-interleavings-") as name:
        folder = Path(name)
        local = folder / "staging"
        root = UPath(local) if store == "local disk" else bucket_path(_BUCKETS[store])
        if store != "local disk":
            # Found out once, before anybody is at work.
            assert honours_conditions(root / "probe") == (store == "S3")
        with virtual_time(), file_steps(local):
            yield Ground(store, folder, root)
