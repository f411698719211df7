"""Rows of a Parquet file. Holds a few megabytes, however large the row groups are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS, joined, pieces
from greennode_batch.source.formats.file_listing import SourceFile
from greennode_batch.source.formats.int96_check import Int96Check, int96_columns
from greennode_batch.source.partition import Part

_READ_ROWS = 128
_READ_BYTES = 32 << 20
# A larger chunk of texts is not all dictionary: writers end a dictionary at about a megabyte.
_DICTIONARY_BYTES = 4 << 20
_BUFFERED_BYTES = 16 << 20
_BUFFER_BYTES = range(256 << 10, 4 << 20)


def parquet_schema(file: SourceFile) -> pa.Schema:
    """Read the columns and their types."""
    with file.seekable() as opened:
        return _parquet(opened).schema_arrow


def parquet_layout(file: SourceFile) -> str:
    """Describe how many rows the file has, in how many row groups."""
    with file.seekable() as opened:
        metadata = pq.ParquetFile(opened).metadata
        return f"{metadata.num_rows} rows in {metadata.num_row_groups} row groups"


def parquet_batches(file: SourceFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read these columns of all rows. Holds one batch and one page of each column."""
    with file.seekable() as opened:
        # Read each column separately, a few megabytes at a time, instead of a whole row group ahead.
        buffer = _BUFFERED_BYTES // max(len(columns), 1)
        parquet = _parquet(opened, buffer_size=min(max(buffer, _BUFFER_BYTES.start), _BUFFER_BYTES.stop))
        old_times = int96_columns(parquet, columns)
        check = Int96Check(opened, old_times) if old_times else None

        def batches() -> Iterator[pa.RecordBatch]:
            for group in file.part.dealt(range(parquet.num_row_groups)):
                rows = _read_rows(parquet.metadata.row_group(group), columns)
                read = parquet.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)
                yield from read if check is None else _checked(file, check.beside(read, rows=rows, group=group), group)

        yield from joined(piece for batch in batches() for piece in pieces(_decoded(batch)))


def row_number(file: SourceFile, index: int) -> int:
    """The number of a row in the file, counted from 1. index: its index among the rows of the file's part."""
    with file.seekable() as opened:
        metadata = pq.ParquetFile(opened).metadata
    sizes = [int(metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
    for group in file.part.dealt(range(len(sizes))):
        if index < sizes[group]:
            return sum(sizes[:group]) + index + 1
        index -= sizes[group]
    return index + 1


def _parquet(opened: BinaryIO, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        opened,
        pre_buffer=False,
        arrow_extensions_enabled=True,
        coerce_int96_timestamp_unit="us",
        page_checksum_verification=True,
        **options,
    )


def _checked(
    file: SourceFile, batches: Iterator[tuple[pa.RecordBatch, tuple[str, int] | None]], group: int
) -> Iterator[pa.RecordBatch]:
    """Pass the batches of a row group on. Raises ConfigError for a timestamp that microseconds cannot hold."""
    start = 0
    for batch, wrong in batches:
        if wrong is not None:
            name, index = wrong
            number = row_number(replace(file, part=Part(group, group + 1)), 0) + start + index
            raise ConfigError(
                f"{file}: column {name}, row {number}: has an INT96 timestamp that microseconds cannot hold; write it "
                "as a timestamp of Parquet, or with fewer digits. Nothing was sent"
            )
        start += batch.num_rows
        yield batch


def _read_rows(group: pq.RowGroupMetaData, columns: Sequence[str]) -> int:
    """How many rows to read at once: few if rows are large, or if Parquet does not tell their size."""
    row_bytes = 0
    for index in range(group.num_columns):
        chunk = group.column(index)
        if not any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in columns):
            continue
        size = chunk.total_uncompressed_size
        is_dictionary = chunk.has_dictionary_page and chunk.physical_type == "BYTE_ARRAY" and size < _DICTIONARY_BYTES
        # Every row may use the same dictionary entry, so each row may be as large as the whole chunk.
        row_bytes += size if is_dictionary else size // max(group.num_rows, 1)
    if row_bytes * group.num_rows <= MAX_BYTES:
        return MAX_ROWS
    return max(1, min(_READ_ROWS, _READ_BYTES // max(row_bytes, 1)))


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [one.dictionary_decode() if pa.types.is_dictionary(one.type) else one for one in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names) if arrays else batch
