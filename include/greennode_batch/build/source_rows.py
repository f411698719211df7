"""source.parquet: which rows asked what. One row per source row and model, beside the shard that answers it.

Columns: the key, the carried columns, `model`, `custom_id` (NULL for a row that is not sent) and `unsent`
(why not, else NULL).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.errors import ConfigError

_OWN_FIELDS = (("model", pa.string()), ("custom_id", pa.string()), ("unsent", pa.string()))
_CHUNK_ROWS = 4_096


class SourceRows:
    """The source rows of one shard, in memory as Arrow until `write`: kept columns only, never the prompts."""

    def __init__(self, kept_columns: Sequence[str]) -> None:
        self._names = (*kept_columns, *(name for name, _ in _OWN_FIELDS))
        self._types = (*(None for _ in kept_columns), *(own for _, own in _OWN_FIELDS))
        self._pending: list[tuple[Any, ...]] = []
        self._chunks: list[pa.Table] = []

    def add(self, kept: Sequence[Any], model: str, custom_id: str | None, unsent: str | None) -> None:
        """One source row."""
        self._pending.append((*kept, model, custom_id, unsent))
        if len(self._pending) >= _CHUNK_ROWS:
            self._close_chunk()

    def table(self) -> pa.Table:
        """All rows so far."""
        self._close_chunk()
        return pa.concat_tables(self._chunks, promote_options="permissive")

    def _close_chunk(self) -> None:
        if self._pending or not self._chunks:
            columns = list(zip(*self._pending, strict=True)) or [()] * len(self._names)
            arrays = [
                pa.array(values, type=own) if own is not None else to_arrow(values, name)
                for values, name, own in zip(columns, self._names, self._types, strict=True)
            ]
            self._chunks.append(pa.table(arrays, names=list(self._names)))
            self._pending = []


def to_arrow(values: Sequence[Any], name: str) -> pa.Array:
    """A column of a database or file as Arrow. What Arrow has no plain type for (UUID, JSON) becomes text."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, bytes | memoryview):
        raise ConfigError(f"column {name} holds bytes; encode it as text in the query, or leave it out")
    if isinstance(first, dict | list):
        values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if isinstance(array.type, pa.ExtensionType):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return array


def unify(tables: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all shards: a column that was NULL throughout one shard has the others' type."""
    schema = pa.unify_schemas(list(tables), promote_options="permissive")
    return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in schema])


def write_source(table: pa.Table, path: Path) -> None:
    """Write source.parquet."""
    pq.write_table(table, path, compression="zstd")
