"""PartFiles: writes the Parquet files of one shard, one per partition, several at a time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

MAX_OPEN = 200
"""The most open files: each one holds a few more kilobytes with every row group."""

# For all partitions together: row groups of only a few rows are slow to write and to read.
_HELD_BYTES = 32 << 20


class PartFiles:
    """A context manager that writes files; they are complete when it ends. made: the files, by partition folder.

    holds: whether to buffer rows into larger row groups, which matters if there are several files.
    """

    def __init__(self, work: Path, *, holds: bool) -> None:
        self.made: dict[str, Path] = {}
        self._work = work
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._held: dict[str, list[pa.Table]] = {}
        self._held_bytes = 0
        self._max_held_bytes = _HELD_BYTES if holds else 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is None:
                self._write_held()

    def opens(self, folder: str) -> bool:
        """Open a file for a partition unless MAX_OPEN others have one. Returns whether the partition has a file."""
        if folder not in self.made and len(self.made) < MAX_OPEN:
            self.made[folder] = self._work / f"part-{len(self.made)}"
        return folder in self.made

    def add(self, folder: str, rows: pa.Table) -> None:
        """Add rows of a partition that has a file. All rows have the same columns."""
        self._held.setdefault(folder, []).append(rows)
        self._held_bytes += rows.nbytes
        if self._held_bytes >= self._max_held_bytes:
            self._write_held()

    def _write_held(self) -> None:
        for folder, tables in self._held.items():
            if folder not in self._writers:
                writer = pq.ParquetWriter(self.made[folder], tables[0].schema, compression="zstd")
                self._writers[folder] = self._stack.enter_context(writer)
            self._writers[folder].write_table(pa.concat_tables(tables))
        self._held = {}
        self._held_bytes = 0
