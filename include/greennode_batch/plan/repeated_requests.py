"""Repeated requests: rows whose request may have been asked long before, put aside until all shards are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from greennode_batch.request.request_lines import RequestLines
from greennode_batch.source.formats.batch_limits import together
from greennode_batch.staging.spill_file import SpillFile

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
        self._spilled = SpillFile[PutAside](work / "repeated.pickle")

    def add(self, some: PutAside) -> None:
        """Rows of one model."""
        self._spilled.add(some)

    def take(self) -> Iterator[list[PutAside]]:
        """All of them, some ten thousand rows or some megabytes at a time."""
        return together(self._spilled, _sizes, _TOGETHER, _TOGETHER_BYTES)


def _sizes(some: PutAside) -> tuple[int, int]:
    return some.rows.num_rows, some.rows.nbytes + sum(map(len, some.requests.lines))
