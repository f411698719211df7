"""Row fields: fields of a request's body whose values come from columns, row by row."""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from greennode_batch.errors import RowError
from greennode_batch.request.body_json import encode, escape_line_separators
from greennode_batch.source.rows import RowBatch

_encode_value = msgspec.json.Encoder(decimal_format="number").encode
_WRITTEN = str | bool | int | float | Decimal | datetime.date | datetime.time | datetime.timedelta | uuid.UUID | None


class RowField:
    """A field of the body, with the comma before it. NULL leaves it as `params` have it, or out.

    The column's value is written as JSON: numbers, texts and truth as such, dates and times as ISO texts, JSON
    documents and arrays as they are.
    """

    def __init__(self, name: str, column: str, params: Mapping[str, Any]) -> None:
        self._name = name
        self._column = column
        self._before = b"," + escape_line_separators(encode(name)) + b":"
        self._default = self._before + escape_line_separators(encode(params[name])) if name in params else b""

    def entries(self, batch: RowBatch) -> list[bytes]:
        """What the body of each row has. Raises RowError for a value that JSON has no form of: bytes, NaN."""
        return [
            self._default if value is None else self._before + self._written(value, index)
            for index, value in enumerate(batch.values(self._column))
        ]

    def _written(self, value: Any, index: int) -> bytes:
        try:
            for part in _parts(value):
                _refuse_unwritten(part)
            return escape_line_separators(_encode_value(value))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise RowError(f"{self._name} from column {self._column}: {error}", row=index) from None


def _parts(value: Any) -> Iterator[Any]:
    """All that a JSON document holds but its lists and mappings."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield key
            yield from _parts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    else:
        yield value


def _refuse_unwritten(value: Any) -> None:
    if not isinstance(value, _WRITTEN):
        raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that JSON can hold")
