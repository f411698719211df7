"""Repeated requests: rows whose request may have been asked long before, put aside until all shards are there."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from greennode_batch.request.request_lines import RequestLines

# For each of these lots all shards' ids are looked through once.
_TOGETHER = 50_000
_TOGETHER_BYTES = 16 << 20


class PutAside(NamedTuple):
    """Rows as source.parquet has them, and the request of each."""

    rows: pa.Table
    requests: RequestLines


class RepeatedRequests:
    """Holds none of them: they lie on disk, in `work`."""

    def __init__(self, work: Path) -> None:
        self._path = work / "repeated.pickle"

    def add(self, some: PutAside) -> None:
        """Rows of one model."""
        with self._path.open("ab") as file:
            pickle.dump(some, file, protocol=pickle.HIGHEST_PROTOCOL)

    def take(self) -> Iterator[list[PutAside]]:
        """All of them, some ten thousand rows or some megabytes at a time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            together: list[PutAside] = []
            rows = size = 0
            while True:
                try:
                    together.append(pickle.load(file))  # noqa: S301 - this process wrote it
                except EOFError:
                    break
                rows += together[-1].rows.num_rows
                size += together[-1].rows.nbytes + sum(map(len, together[-1].requests.lines))
                if rows >= _TOGETHER or size >= _TOGETHER_BYTES:
                    yield together
                    together = []
                    rows = size = 0
        if together:
            yield together
