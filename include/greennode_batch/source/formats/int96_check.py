"""INT96 check: whether the microseconds that are read of a deprecated timestamp of Parquet are its exact value.

Spark, Hive and Impala write INT96: a day and the nanoseconds in it. Arrow would read nanoseconds, whose 64 bits end in
the year 2262, and wrap around silently. Microseconds reach further, but drop the digits behind them silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.source.formats.python_range import leaves

_NANOSECONDS = 1_000
_MICROSECONDS = 1_000_000


def int96_columns(parquet: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """Which of these columns have INT96 values, also inside of lists and structs."""
    schema = parquet.schema
    found = {schema.column(index).path for index in range(len(schema)) if schema.column(index).physical_type == "INT96"}
    return [name for name in columns if any(path == name or path.startswith(f"{name}.") for path in found)]


class Int96Check:
    """Reads the INT96 columns of a file beside its other reader, in other units, which together tell each value."""

    def __init__(self, opened: BinaryIO, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._readers = [
            pq.ParquetFile(opened, pre_buffer=False, coerce_int96_timestamp_unit=unit) for unit in ("s", "ns")
        ]

    def beside(
        self, batches: Iterator[pa.RecordBatch], *, rows: int, group: int
    ) -> Iterator[tuple[pa.RecordBatch, tuple[str, int] | None]]:
        """Yield each batch with the column and index of its first value that is not exact, or None.

        rows: how many rows are read at once. group: the row group.
        """
        others = [
            reader.iter_batches(rows, row_groups=[group], columns=self._columns, use_threads=False)
            for reader in self._readers
        ]
        for batch, seconds, nanoseconds in zip(batches, *others, strict=True):
            wrong = (
                (name, index)
                for name in self._columns
                if (index := _first_inexact(batch[name], seconds[name], nanoseconds[name])) is not None
            )
            yield batch, next(wrong, None)


def _first_inexact(microseconds: pa.Array, seconds: pa.Array, nanoseconds: pa.Array) -> int | None:
    for parts in zip(*map(leaves, (microseconds, seconds, nanoseconds)), strict=True):
        if not pa.types.is_timestamp(parts[0].type):
            continue
        micro, whole, nano = map(_ticks, parts)
        # Nanoseconds wrap around, and so does the difference: what is left are the digits that were dropped.
        is_inexact = (nano - micro * _NANOSECONDS != 0) | (micro // _MICROSECONDS != whole)
        if is_inexact.any():
            # Of a list, the index of the row is not known.
            return int(np.flatnonzero(is_inexact)[0]) if parts[0].type == microseconds.type else 0
    return None


def _ticks(array: pa.Array) -> npt.NDArray[np.int64]:
    made: npt.NDArray[np.int64] = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return made
