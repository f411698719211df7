"""source.parquet: which rows asked what. One row per source row and model, beside the shard that answers it.

Columns: the key, the carried columns, `model`, `custom_id` (NULL for a row that is not sent) and `unsent`
(why not, else NULL).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from greennode_batch.build.column_types import fit, to_arrow, unify

_OWN_FIELDS = (("model", pa.string()), ("custom_id", pa.string()), ("unsent", pa.string()))
OWN_COLUMNS = tuple(name for name, _ in _OWN_FIELDS)
_CHUNK_ROWS = 4_096


class SourceRows:
    """The source rows of one shard, in memory as Arrow until `write`: kept columns only, never the prompts."""

    def __init__(self, kept_columns: Sequence[str]) -> None:
        self._names = (*kept_columns, *OWN_COLUMNS)
        self._types = (*(None for _ in kept_columns), *(own for _, own in _OWN_FIELDS))
        self._pending: list[tuple[Any, ...]] = []
        self._chunks: list[pa.Table] = []

    def add(self, kept: Sequence[Any], model: str, custom_id: str | None, unsent: str | None) -> None:
        """One source row."""
        self._pending.append((*kept, model, custom_id, unsent))
        if len(self._pending) >= _CHUNK_ROWS:
            self._close_chunk()

    def __len__(self) -> int:
        return sum(map(len, self._chunks)) + len(self._pending)

    def table(self) -> pa.Table:
        """All rows so far."""
        self._close_chunk()
        schema = unify([chunk.schema for chunk in self._chunks])
        return pa.concat_tables([fit(chunk, schema) for chunk in self._chunks])

    def _close_chunk(self) -> None:
        if self._pending or not self._chunks:
            columns = list(zip(*self._pending, strict=True)) or [()] * len(self._names)
            arrays = [
                pa.array(values, type=own) if own is not None else to_arrow(values, name)
                for values, name, own in zip(columns, self._names, self._types, strict=True)
            ]
            self._chunks.append(pa.table(arrays, names=list(self._names)))
            self._pending = []
