"""Parquet files in staging, read and written as Arrow tables.

Code that works on rows uses this module. Tasks that only send and wait do not import it, so they load no Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from greennode_batch.staging.folders import local_copy

# Columns whose values do not repeat: a dictionary would cost time and save nothing.
_WITHOUT_DICTIONARY = frozenset({"custom_id", "answer", "reasoning", "error", "raw_answer"})


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file on local disk. columns: read only these; the default is all.

    pyarrow's own `read_table` uses datasets and many threads, and several times the memory.
    """
    with pq.ParquetFile(path) as file:
        rows = file.read(columns=None if columns is None else list(columns), use_threads=False)
    return rows if columns is None else rows.select(columns)


def read_staged(path: UPath, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file in staging. columns: read only these; the default is all."""
    with local_copy(path) as local:
        return read_table(local, columns)


def staged_schema(path: UPath) -> pa.Schema:
    """Read the schema of a Parquet file in staging."""
    with local_copy(path) as local:
        return pq.read_schema(local)


def read_pieces(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield an open Parquet file in these columns, one row group at a time."""
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns=list(columns), use_threads=False).select(columns)


def table_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a writer for a Parquet file for staging, on local disk.

    lz4 takes half the time of zstd to write and to read. The files are larger, but small compared with the files of
    requests and answers, which are not compressed at all.
    """
    return pq.ParquetWriter(
        path,
        schema,
        compression="lz4",
        use_dictionary=[name for name in schema.names if name not in _WITHOUT_DICTIONARY],
    )
