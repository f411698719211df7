"""Batch limits: how many rows and bytes of a source are held at a time."""

from __future__ import annotations

import datetime
import operator
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa

T = TypeVar("T")

MAX_ROWS = 5_000
MAX_BYTES = 8 << 20


_SMALL_KINDS = {int, float, bool, type(None), datetime.date, datetime.datetime, uuid.UUID}


def column_size(values: Sequence[Any]) -> int:
    """Estimate how many bytes the values of a column take."""
    kinds = set(map(type, values))
    if kinds <= _SMALL_KINDS:
        return 8 * len(values)
    return sum(map(len if kinds == {str} else _size, values))


def _size(value: Any) -> int:
    """Estimate how many bytes a value takes whose type has no fixed size."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, memoryview):
        return value.nbytes
    if isinstance(value, dict | list):
        return sum(map(_size, value.values() if isinstance(value, dict) else value)) + 8 * len(value)
    return 8


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Split a batch until each piece is within the limits or has a single row. Copies nothing."""
    if batch.num_rows > MAX_ROWS:
        for start in range(0, batch.num_rows, MAX_ROWS):
            yield from pieces(batch.slice(start, MAX_ROWS))
    elif batch.num_rows > 1 and batch.nbytes > MAX_BYTES:
        half = batch.num_rows // 2
        yield from pieces(batch.slice(0, half))
        yield from pieces(batch.slice(half))
    elif batch.num_rows:
        yield batch


def joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Merge small batches into larger ones within the limits. Holds one merged batch."""
    for some in together(batches, lambda batch: (batch.num_rows, batch.nbytes), MAX_ROWS, MAX_BYTES):
        yield some[0] if len(some) == 1 else pa.concat_batches(some)


def together(items: Iterable[T], sizes: Callable[[T], tuple[int, ...]], *limits: int) -> Iterator[list[T]]:
    """Group consecutive items so that the sizes of a group stay within the limits, or a group has a single item.

    Holds one group.
    """
    held: list[T] = []
    total: Sequence[int] = ()
    for item in items:
        own = sizes(item)
        more = tuple(map(operator.add, total, own))
        if held and any(map(operator.gt, more, limits)):
            yield held
            held, more = [], own
        total = more or own
        held.append(item)
    if held:
        yield held
