"""Frame kinds: pandas, polars, Arrow, lists of dicts and Parquet paths, as columns to ask about, and with more columns.

polars is loaded only where the rows are of polars.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import is_json, to_arrow
from greennode_batch.source.formats.common_types import plain_type

_NULLABLE: Mapping[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_KINDS = "a pandas or polars DataFrame, a pyarrow Table, a list of dicts, or the path of a Parquet file"


class Frame(Protocol):
    """The rows of a call, of whichever kind."""

    names: tuple[str, ...]
    """The columns that a prompt can name."""

    def columns(self, names: Collection[str]) -> pa.Table:
        """These columns as Arrow has them. Raises ConfigError for a column that Arrow cannot hold."""

    def extended(self, more: pa.Table, repeat: int) -> Any:
        """The rows as the caller gave them, `repeat` times each, with more columns behind. Order and index stay."""


def frame_of(data: Any) -> Frame:
    """The rows that a caller gave. Raises ConfigError for anything that is not rows."""
    if isinstance(data, str | Path):
        return _PandasFrame(_read_parquet(Path(data)))
    if isinstance(data, pd.DataFrame):
        return _PandasFrame(data)
    if isinstance(data, pa.Table):
        return _ArrowFrame(data)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(data, polars.DataFrame):
        return _PolarsFrame(data)
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        return _DictFrame(data)
    raise ConfigError(
        f"the rows are {type(data).__module__}.{type(data).__qualname__}; give {_KINDS}. Nothing was sent"
    )


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet ({error}). Nothing was sent") from None


class _PandasFrame:
    def __init__(self, data: pd.DataFrame) -> None:
        self._data = data
        # Columns without a header have whole numbers for names; a prompt names them as text.
        self._labels: dict[str, str | int] = {str(name): name for name in data.columns if isinstance(name, int)}
        self._labels |= {name: name for name in data.columns if isinstance(name, str)}
        in_index = [name for name in data.index.names if isinstance(name, str) and name not in self._labels]
        self.names = (*self._labels, *in_index)

    def columns(self, names: Collection[str]) -> pa.Table:
        return pa.table({name: _arrow_column(self._values(name), name) for name in self.names if name in names})

    def _values(self, name: str) -> Any:
        if name not in self._labels:
            return self._data.index.get_level_values(name)
        held = self._data[self._labels[name]]
        if isinstance(held, pd.DataFrame):
            raise ConfigError(f"the rows have the column {name} twice; rename one of them. Nothing was sent")
        return held

    def extended(self, more: pa.Table, repeat: int) -> pd.DataFrame:
        rows = self._data.take(_repeated(len(self._data), repeat)) if repeat > 1 else self._data
        made = {name: _pandas_column(more, name) for name in more.column_names}
        return rows.assign(**{name: pd.Series(values).set_axis(rows.index) for name, values in made.items()})


def _pandas_column(table: pa.Table, name: str) -> Any:
    if is_json(table.schema.field(name)):
        return pd.Series(_json_values(table[name]), dtype=object)
    return table[name].to_pandas(types_mapper=_NULLABLE.get)


class _ArrowFrame:
    def __init__(self, data: pa.Table) -> None:
        self._data = data
        self.names = tuple(data.column_names)

    def columns(self, names: Collection[str]) -> pa.Table:
        return self._data.select([name for name in self.names if name in names])

    def extended(self, more: pa.Table, repeat: int) -> pa.Table:
        rows = self._data.take(pa.array(_repeated(self._data.num_rows, repeat))) if repeat > 1 else self._data
        for name in more.column_names:
            rows = rows.append_column(more.schema.field(name).remove_metadata(), more[name])
        return rows


class _PolarsFrame:
    def __init__(self, data: Any) -> None:
        self._data = data
        self.names = tuple(data.columns)

    def columns(self, names: Collection[str]) -> pa.Table:
        return self._data.select([name for name in self.names if name in names]).to_arrow()

    def extended(self, more: pa.Table, repeat: int) -> Any:
        rows = self._data[_repeated(self._data.height, repeat)] if repeat > 1 else self._data
        return rows.hstack(sys.modules["polars"].from_arrow(more))


class _DictFrame:
    def __init__(self, data: Sequence[Mapping[str, Any]]) -> None:
        self._data = data
        self.names = tuple(dict.fromkeys(name for row in data for name in row))

    def columns(self, names: Collection[str]) -> pa.Table:
        return pa.table(
            {name: _arrow_column([row.get(name) for row in self._data], name) for name in self.names if name in names}
        )

    def extended(self, more: pa.Table, repeat: int) -> list[dict[str, Any]]:
        rows = [row for row in self._data for _ in range(repeat)]
        columns = [
            _json_values(more[name]) if is_json(more.schema.field(name)) else more[name].to_pylist()
            for name in more.column_names
        ]
        values = zip(*columns, strict=True)
        return [
            {**row, **dict(zip(more.column_names, new, strict=True))} for row, new in zip(rows, values, strict=True)
        ]


def _repeated(rows: int, repeat: int) -> list[int]:
    return [index for index in range(rows) for _ in range(repeat)]


def _json_values(column: pa.ChunkedArray) -> list[Any]:
    return [None if text is None else json.loads(text) for text in column.to_pylist()]


def _arrow_column(values: Any, name: str) -> pa.Array:
    """A column of pandas or of Python values; what has no type in common becomes text."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return to_arrow([None if value is pd.NA or value != value else value for value in values], name)  # noqa: PLR0124


def write_rows(table: pa.Table, path: Path) -> None:
    """Write rows as a Parquet file with plain types. Equal rows give equal files, whichever kind they were."""
    columns = {name: pc.cast(table[name], plain_type(table.schema.field(name).type)) for name in table.column_names}
    pq.write_table(pa.table(columns).combine_chunks(), path)
