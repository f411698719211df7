"""Rows of a source, in batches of columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa

from greennode_batch.errors import BudgetError, ConfigError
from greennode_batch.job.budget import Budget
from greennode_batch.source.column_types import is_plain, to_arrow
from greennode_batch.source.exact_json import read_json
from greennode_batch.wording import given_by


def within_max_rows(rows: Rows, budget: Budget | None) -> Rows:
    """Pass the rows on, and raise BudgetError from the batch that exceeds the budget's max_rows."""
    most = budget.max_rows if budget else None
    if most is None:
        return rows

    def counted() -> Iterator[RowBatch]:
        count = 0
        for batch in rows.batches:
            count += len(batch)
            if count > most:
                raise BudgetError(
                    f"The source has more than {most:,} rows, the limit of the job's budget ({given_by('max_rows')}). "
                    f"Reading stopped and nothing was sent. Raise the budget, or select fewer rows"
                )
            yield batch

    return replace(rows, batches=counted())


Key = tuple[Any, ...]


Row = tuple[Any, ...]


class RowBatch:
    """A few thousand rows of a source as columns: Arrow arrays, or sequences of Python values.

    columns: the columns by name.
    arrays: columns in the form that staging stores, if it is known besides their values.
    types: the types that the source gives columns of values.
    types_of_nulls: the types of columns without a value, where values may have another type.
    """

    def __init__(
        self,
        rows: int,
        columns: Mapping[str, pa.Array | Sequence[Any]],
        arrays: Mapping[str, pa.Array] | None = None,
        types: Mapping[str, pa.DataType] | None = None,
        types_of_nulls: Mapping[str, pa.DataType] | None = None,
    ) -> None:
        self._rows = rows
        self._columns = dict(columns)
        self._arrays = dict(arrays or {})
        self._types = types or {}
        self._types_of_nulls = types_of_nulls or {}
        self._values: dict[str, Sequence[Any]] = {}

    def __len__(self) -> int:
        return self._rows

    def values(self, column: str) -> Sequence[Any]:
        """A column as prompts see it: a JSON document is a dict."""
        held = self._columns[column]
        if not isinstance(held, pa.Array):
            return held
        if column not in self._values:
            self._values[column] = json_values(held, column) if isinstance(held.type, pa.JsonType) else held.to_pylist()
        return self._values[column]

    def array(self, column: str) -> pa.Array:
        """A column as staging stores it. Raises ConfigError for values that staging cannot store.

        The error is a RowError if a value is not of the type that the source gives the column.
        """
        held = self._arrays.get(column, self._columns[column])
        if isinstance(held, pa.Array):
            plain = held.storage if isinstance(held.type, pa.JsonType) else held
            if is_plain(plain.type):
                return plain
        made = to_arrow(self.values(column), column, self._types.get(column))
        return made.cast(self._types_of_nulls.get(column, made.type)) if pa.types.is_null(made.type) else made

    def take(self, indexes: Sequence[int]) -> RowBatch:
        """Select rows by their indexes."""
        chosen = pa.array(indexes, pa.int64())
        return RowBatch(
            len(indexes),
            {
                name: held.take(chosen) if isinstance(held, pa.Array) else [held[index] for index in indexes]
                for name, held in self._columns.items()
            },
            {name: held.take(chosen) for name, held in self._arrays.items()},
            self._types,
            self._types_of_nulls,
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a source."""

    columns: tuple[str, ...]
    """The names of all columns."""
    batches: Iterator[RowBatch]
    """The rows, to be iterated once. One batch is held at a time."""
    origin: str = ""
    """A hash of what the parts of a divided source divide; equal hashes mean the same division. Empty otherwise."""
    typed: frozenset[str] | None = None
    """The columns whose types the source gives; those of others depend on the values. None for all."""

    @classmethod
    def from_tuples(
        cls,
        columns: Sequence[str],
        batches: Iterable[Sequence[Row]],
        *,
        types: Mapping[str, pa.DataType] | None = None,
        types_of_nulls: Mapping[str, pa.DataType] | None = None,
    ) -> Rows:
        """Build Rows from batches of tuples, as database drivers return them. types: as RowBatch has them."""
        names = check_columns(tuple(columns))
        made = (
            RowBatch(
                len(rows),
                dict(zip(names, zip(*rows, strict=True), strict=True)),
                types=types,
                types_of_nulls=types_of_nulls,
            )
            for rows in batches
            if rows
        )
        return cls(names, made, typed=frozenset(types or {}))


def first_rows(rows: Rows, count: int | None) -> Rows:
    """Limit the rows to the first `count`; None keeps all. No batch beyond that is read."""
    if count is None:
        return rows

    def batches() -> Iterator[RowBatch]:
        left = count
        for batch in rows.batches:
            yield batch if len(batch) <= left else batch.take(range(left))
            left -= len(batch)
            if left <= 0:
                return

    return replace(rows, batches=batches())


def check_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns. Raises ConfigError if a name occurs twice."""
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ConfigError(f"the source has the column(s) {', '.join(twice)} twice; rename one of them (AS …)")
    return columns


def json_values(documents: pa.Array, column: str) -> list[Any]:
    """Decode a column of JSON texts. Raises ConfigError for a text that is not JSON."""
    try:
        return [None if text is None else read_json(text) for text in documents.storage.to_pylist()]
    except msgspec.DecodeError as error:
        raise ConfigError(f"column {column} holds a text that is not JSON ({error}). Nothing was sent") from None
