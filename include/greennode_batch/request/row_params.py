"""Row params: fields of a request body whose values come from columns, row by row."""

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
    """One such field, with the comma before it.

    The column's value is written as JSON: numbers, texts and booleans as they are, dates and times as ISO texts, JSON
    documents and arrays unchanged. If it is NULL, the field has its value from `params`, or is left out.
    """

    def __init__(self, name: str, column: str, params: Mapping[str, Any]) -> None:
        self._name = name
        self._column = column
        self._before = b"," + escape_line_separators(encode(name)) + b":"
        self._default = self._before + escape_line_separators(encode(params[name])) if name in params else b""

    def entries(self, batch: RowBatch) -> list[bytes]:
        """The entry in the body of each row. Raises RowError for a value without a JSON form: bytes, NaN."""
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
    """All values in a JSON document except its lists and mappings."""
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
        raise ValueError(f"{value} is not a number that JSON can represent")
