"""Row hashes: 64 bits of a row's key and 64 of its prompt's inputs, the same in every process.

They show that a row is unchanged, without rendering it. A hash of 0 means that the value has no reliable hash.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from greennode_batch.source.rows import RowBatch
from greennode_batch.tables.fingerprint import mix_in
from greennode_batch.tables.text_hashes import Hashes, text_hashes

RowHashes = npt.NDArray[np.void]
"""An array of ROW_HASHES."""

ROW_HASHES = np.dtype([("key", "<u8"), ("input", "<u8")])

# Caches depend on these: other values would change every hash.
_TEXT_KEY = "greennode a text"
_OTHER_KEY = "greennode, other"
_INTEGER = np.uint64(0x2545F4914F6CDD1D)

_AS_THEY_ARE = frozenset({str, int})
# For these types, `repr` shows the type and the complete value. For others, it may show less, or a memory address.
_TOLD_BY_REPR = frozenset(
    {
        *_AS_THEY_ARE,
        type(None),
        bool,
        float,
        bytes,
        uuid.UUID,
        Decimal,
        Fraction,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
    }
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def hash_rows(batch: RowBatch, *, key: Sequence[str], inputs: Sequence[str]) -> RowHashes:
    """Hash a batch of rows. key, inputs: names of columns.

    Keys have the same hash if Python calls them equal, inputs only if no template can tell them apart: 1 and 1.0 are
    one key but two inputs.
    """
    made = np.empty(len(batch), ROW_HASHES)
    made["key"] = _combined([_of_compared(batch.values(name)) for name in key], len(batch))
    made["input"] = _combined([_of_values(batch.values(name)) for name in inputs], len(batch))
    return made


def with_model(hashes: RowHashes, model: str, sample: int = 1) -> RowHashes:
    """The hashes of the rows in a target for one model, and one of its samples, counted from 1."""
    made = hashes.copy()
    # Sample 1 hashes like a row of a job without samples, so that the caches of such jobs stay valid.
    words = [model] if sample == 1 else [model, sample]
    of_words = [np.repeat(_of_values([word]), len(hashes)) for word in words]
    made["key"] = _combined([hashes["key"], *of_words], len(hashes))
    return made


def _combined(columns: Iterable[Hashes], rows: int) -> Hashes:
    made = np.zeros(rows, np.uint64)
    is_told = np.ones(rows, np.bool_)
    for hashes in columns:
        is_told &= hashes != 0
        mix_in(made, hashes)
    made[made == 0] = 1
    return made * is_told


def _of_values(values: Sequence[Any]) -> Hashes:
    """The hash of each value. It does not depend on the other values."""
    kinds = set(map(type, values))
    if len(kinds) == 1:
        return _of_kind(kinds.pop(), values)
    made = np.zeros(len(values), np.uint64)
    for kind in kinds:
        indexes = [index for index, value in enumerate(values) if type(value) is kind]
        made[indexes] = _of_kind(kind, [values[index] for index in indexes])
    return made


def _of_kind(kind: type, values: Sequence[Any]) -> Hashes:
    if kind is str:
        return _of_texts(values, _TEXT_KEY)
    if kind is int:
        return _of_integers(values)
    is_told = np.fromiter(map(_is_told, values), np.bool_, len(values))
    return _of_texts(list(map(repr, values)), _OTHER_KEY) * is_told


def _of_integers(values: Sequence[int]) -> Hashes:
    try:
        return np.array(values, np.int64).view(np.uint64) ^ _INTEGER
    except OverflowError:
        half = len(values) // 2
        if not half:
            return _of_texts([repr(values[0])], _OTHER_KEY)
        return np.concatenate([_of_integers(values[:half]), _of_integers(values[half:])])


def _of_texts(texts: Sequence[str], hash_key: str) -> Hashes:
    try:
        return text_hashes(np.array(texts, np.object_), hash_key)
    except UnicodeEncodeError:  # half of a surrogate pair, which rendering refuses
        whole = np.array([text.encode("utf-8", "surrogatepass") for text in texts], np.object_)
        return text_hashes(whole, hash_key)


def _is_told(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(_is_told, value))
    if isinstance(value, dict):
        return type(value) is dict and all(map(_is_told, value)) and all(map(_is_told, value.values()))
    return type(value) in _TOLD_BY_REPR


def _of_compared(values: Sequence[Any]) -> Hashes:
    """The hash of each value of a key. Values that Python calls equal have the same hash."""
    kinds = set(map(type, values))
    if not kinds <= _AS_THEY_ARE:
        return _of_values(list(map(_as_compared, values)))
    return _of_kind(kinds.pop(), values) if len(kinds) == 1 else _of_values(values)


def _as_compared(value: Any) -> Any:
    if isinstance(value, bool | float | Decimal):
        try:
            fraction = Fraction(value)
        except (OverflowError, ValueError):  # infinite, or not a number
            return float(value)
        return fraction.numerator if fraction.denominator == 1 else fraction
    if isinstance(value, datetime.datetime):
        return value.replace(fold=0) if value.tzinfo is None else value - _EPOCH
    if isinstance(value, datetime.time) and value.tzinfo is not None:
        return object()  # no reliable hash: equal times may have different zones
    return value
