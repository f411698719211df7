"""File cache: JSON files of staging, read again only if they have changed."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import local_path, read_json, uncached, version_in

T = TypeVar("T")

# A listing of an object store takes a call for every thousand files, each some tenths of a second.
_LISTED_SECONDS = 5.0
_READERS = 16
_LISTINGS = 200


class SeenFiles(Generic[T]):
    """Files of one kind. Holds up to `limit` of their values; used by many threads.

    A file that cannot be read counts as missing: `on_broken` gets the reason, once for each time that the file was
    written.
    """

    def __init__(
        self,
        as_type: type[T],
        *,
        limit: int = 50_000,
        on_broken: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._as_type = as_type
        self._limit = limit
        self._on_broken = on_broken
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[Hashable, T | None]] = {}
        self._listings: dict[str, tuple[float, Mapping[str, Hashable]]] = {}

    def read(self, folder: UPath, names: Iterable[str]) -> list[T | None]:
        """The values of the files with these names, paths below the folder; None for a missing file."""
        names = list(names)
        marks = self._marks(folder, names)
        values: list[T | None] = [None] * len(names)
        stale: list[int] = []
        with self._lock:
            for index, name in enumerate(names):
                mark = marks.get(name)
                known = self._seen.get(f"{folder}/{name}")
                if known is not None and known[0] == mark:
                    values[index] = known[1]
                elif mark is not None:
                    stale.append(index)
        for index, value in zip(stale, self._read(folder, [names[index] for index in stale]), strict=True):
            values[index] = value
            self._keep(f"{folder}/{names[index]}", marks[names[index]], value)
        return values

    def names(self, folder: UPath, below: Sequence[str]) -> list[Collection[str]]:
        """The names of the files in each of these folders, which are paths below the folder."""
        local = local_path(folder)
        if local is not None:
            return [_names_in(f"{local}/{one}") for one in below]
        found: dict[str, list[str]] = {one: [] for one in below}
        for path in self._listed(folder):
            parent, _, name = path.rpartition("/")
            if parent in found:
                found[parent].append(name)
        return [found[one] for one in below]

    def read_one(self, folder: UPath, name: str) -> T | None:
        """The value of one file, or None if it is missing."""
        return self.read(folder, [name])[0]

    def _read(self, folder: UPath, names: list[str]) -> list[T | None]:
        if local_path(folder) is not None or len(names) < 2:  # noqa: PLR2004 - one needs no other threads
            return [self._read_file(folder / name) for name in names]
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(lambda name: self._read_file(folder / name), names))

    def _read_file(self, path: UPath) -> T | None:
        try:
            return read_json(path, self._as_type)
        except ConfigError as error:
            self._on_broken(str(error))
            return None

    def _keep(self, name: str, mark: Hashable, value: T | None) -> None:
        with self._lock:
            self._seen[name] = (mark, value)
            for oldest in list(itertools.islice(self._seen, max(len(self._seen) - self._limit, 0))):
                del self._seen[oldest]

    def _marks(self, folder: UPath, names: list[str]) -> Mapping[str, Hashable]:
        """What distinguishes one version of a file from another, by name; nothing for a missing file."""
        local = local_path(folder)
        if local is None:
            return self._listed(folder)
        marks: dict[str, Hashable] = {}
        for name in names:
            try:
                found = os.stat(f"{local}/{name}")  # noqa: PTH116 - a Path for each of thousands takes longer than this
            except FileNotFoundError:
                continue
            marks[name] = (found.st_mtime_ns, found.st_size, found.st_ino)
        return marks

    def _listed(self, folder: UPath) -> Mapping[str, Hashable]:
        with self._lock:
            when, listing = self._listings.get(str(folder), (-_LISTED_SECONDS, {}))
        if self._clock() - when < _LISTED_SECONDS:
            return listing
        files = uncached(folder).fs.find(folder.path, detail=True)
        start = len(folder.path.rstrip("/")) + 1
        listing = {name[start:]: version_in(info) for name, info in files.items()}
        with self._lock:
            self._listings[str(folder)] = (self._clock(), listing)
            for oldest in list(itertools.islice(self._listings, max(len(self._listings) - _LISTINGS, 0))):
                del self._listings[oldest]
        return listing


def _names_in(path: str) -> Collection[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - a Path for each file of thousands of folders takes longer than this
    except FileNotFoundError:
        return ()
