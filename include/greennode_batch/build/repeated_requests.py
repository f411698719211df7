"""Repeated requests: rows whose request may have been asked long before, put aside until all shards are there."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from greennode_batch.build.request_lines import RequestLines

_TOGETHER = 50_000


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
        """All of them, some ten thousand rows at a time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            together: list[PutAside] = []
            while True:
                try:
                    together.append(pickle.load(file))  # noqa: S301 - this process wrote it
                except EOFError:
                    break
                if sum(some.rows.num_rows for some in together) >= _TOGETHER:
                    yield together
                    together = []
        if together:
            yield together
