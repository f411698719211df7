"""Part files: Parquet files of one shard while they are made, one a partition, several at once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

MAX_OPEN = 200
"""Files at once: each holds some kilobytes more with every row group."""

# Of partitions together: row groups of a few rows are slow to write and to read.
_HELD_BYTES = 32 << 20


class PartFiles:
    """Use it as a context manager: the files are whole when it ends. made: each file, by its partition's folder.

    holds: whether rows are held until there are many, which is for more files than one.
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
        """Whether this partition has a file, or has one from now on; none where MAX_OPEN others have."""
        if folder not in self.made and len(self.made) < MAX_OPEN:
            self.made[folder] = self._work / f"part-{len(self.made)}"
        return folder in self.made

    def add(self, folder: str, rows: pa.Table) -> None:
        """Some rows of a partition that has a file. All have the same columns."""
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
