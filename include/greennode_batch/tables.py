"""Tables: rows of staging in memory, as Arrow has them.

Whatever works on rows comes by this module; what only sends and waits does without Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a Parquet file on local disk, of these columns or all.

    pyarrow's own `read_table` goes by its datasets and many threads, and takes several times the memory.
    """
    with pq.ParquetFile(path) as file:
        rows = file.read(columns=None if columns is None else list(columns), use_threads=False)
    return rows if columns is None else rows.select(columns)


def read_pieces(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The same, one row group after the other."""
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns=list(columns), use_threads=False).select(columns)
