"""Rows: what a source gives, in batches, as tuples or as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa

from greennode_batch.errors import BudgetError, ConfigError
from greennode_batch.job.budget import Budget
from greennode_batch.source.column_types import is_plain, to_arrow
from greennode_batch.wording import given_by


def within_max_rows(rows: Rows, budget: Budget | None) -> Rows:
    """The same rows, up to the budget's max_rows: one more is a BudgetError while they are read."""
    most = budget.max_rows if budget else None
    if most is None:
        return rows

    def counted() -> Iterator[RowBatch]:
        count = 0
        for batch in rows.batches:
            count += len(batch)
            if count > most:
                raise BudgetError(
                    f"The source has more than {most:,} rows, which is the job's budget ({given_by('max_rows')}). It "
                    f"was not read any further, and nothing was sent. Raise the budget, or choose fewer rows"
                )
            yield batch

    return replace(rows, batches=counted())


Key = tuple[Any, ...]


Row = tuple[Any, ...]


class RowBatch:
    """Some thousand rows of a source as columns: Arrow's arrays, or values as prompts see them.

    arrays: columns as staging keeps them, where they are known beside their values.
    """

    def __init__(
        self,
        rows: int,
        columns: Mapping[str, pa.Array | Sequence[Any]],
        arrays: Mapping[str, pa.Array] | None = None,
    ) -> None:
        self._rows = rows
        self._columns = dict(columns)
        self._arrays = dict(arrays or {})
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
        """A column as staging keeps it. Raises ConfigError for what it cannot keep."""
        held = self._arrays.get(column, self._columns[column])
        if isinstance(held, pa.Array):
            plain = held.storage if isinstance(held.type, pa.JsonType) else held
            if is_plain(plain.type):
                return plain
        return to_arrow(self.values(column), column)

    def take(self, indexes: Sequence[int]) -> RowBatch:
        """Some of the rows, by their places."""
        chosen = pa.array(indexes, pa.int64())
        return RowBatch(
            len(indexes),
            {
                name: held.take(chosen) if isinstance(held, pa.Array) else [held[index] for index in indexes]
                for name, held in self._columns.items()
            },
            {name: held.take(chosen) for name, held in self._arrays.items()},
        )


@dataclass(frozen=True)
class Rows:
    """Columns by name, and batches of rows, of which one is held at a time. The batches can be read once.

    origin: where these are a part of the rows, what all parts are of: tells whether they were divided alike.
    """

    columns: tuple[str, ...]
    batches: Iterator[RowBatch]
    origin: str = ""

    @classmethod
    def from_tuples(cls, columns: Sequence[str], batches: Iterable[Sequence[Row]]) -> Rows:
        """Rows that come as tuples, as databases give them."""
        names = check_columns(tuple(columns))
        return cls(
            names,
            (RowBatch(len(rows), dict(zip(names, zip(*rows, strict=True), strict=True))) for rows in batches if rows),
        )


def first_rows(rows: Rows, count: int | None) -> Rows:
    """The first `count` rows, or all for None. No batch after the last of them is asked for."""
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
    """The columns, if each name is there once; else ConfigError."""
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ConfigError(f"the source has the column(s) {', '.join(twice)} twice; give each its own name (AS …)")
    return columns


def json_values(documents: pa.Array, column: str) -> list[Any]:
    """A column of JSON texts as what they say. Raises ConfigError for a text that is no JSON."""
    try:
        return [None if text is None else msgspec.json.decode(text) for text in documents.storage.to_pylist()]
    except msgspec.DecodeError as error:
        raise ConfigError(f"column {column} holds a text that is no JSON ({error}). Nothing was sent") from None
