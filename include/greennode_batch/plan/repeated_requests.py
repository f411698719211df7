"""Repeated requests: rows whose request may equal a much earlier one, set aside until all shards exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from greennode_batch.request.request_lines import RequestLines
from greennode_batch.source.formats.batch_limits import together
from greennode_batch.staging.spill_file import SpillFile

# The ids of all shards are searched once for each group of this size.
_TOGETHER = 50_000
_TOGETHER_BYTES = 16 << 20


class PutAside(NamedTuple):
    """Rows as source.parquet has them, and the request of each."""

    rows: pa.Table
    requests: RequestLines


class RepeatedRequests:
    """Stores the rows on disk, in `work`."""

    def __init__(self, work: Path) -> None:
        self._spilled = SpillFile[PutAside](work / "repeated.pickle")

    def add(self, some: PutAside) -> None:
        """Set aside rows of one model."""
        self._spilled.add(some)

    def take(self) -> Iterator[list[PutAside]]:
        """Yield all rows, in groups of at most 50,000 rows or 16 MiB."""
        return together(self._spilled, _sizes, _TOGETHER, _TOGETHER_BYTES)


def _sizes(some: PutAside) -> tuple[int, int]:
    return some.rows.num_rows, some.rows.nbytes + sum(map(len, some.requests.lines))
