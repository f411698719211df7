"""Rows of a Parquet file. Holds a few megabytes, however large the row groups are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS, joined, pieces
from greennode_batch.source.formats.file_listing import SourceFile

_READ_ROWS = 128
_READ_BYTES = 32 << 20
# A larger chunk of texts is not all dictionary: writers end a dictionary at about a megabyte.
_DICTIONARY_BYTES = 4 << 20
_BUFFERED_BYTES = 16 << 20
_BUFFER_BYTES = range(256 << 10, 4 << 20)


def parquet_schema(file: SourceFile) -> pa.Schema:
    """Read the columns and their types."""
    with file.seekable() as opened:
        return pq.ParquetFile(opened, arrow_extensions_enabled=True).schema_arrow


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
        parquet = pq.ParquetFile(
            opened,
            pre_buffer=False,
            buffer_size=min(max(buffer, _BUFFER_BYTES.start), _BUFFER_BYTES.stop),
            arrow_extensions_enabled=True,
        )
        for group in file.part.dealt(range(parquet.num_row_groups)):
            read = parquet.iter_batches(
                _read_rows(parquet.metadata.row_group(group), columns),
                row_groups=[group],
                columns=list(columns),
                use_threads=False,
            )
            yield from joined(piece for batch in read for piece in pieces(_decoded(batch)))


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
