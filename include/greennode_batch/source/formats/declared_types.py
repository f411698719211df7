"""Declared types: the Arrow types that `FileSource(types=…)` declares, and the conversion of values to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.errors import RowError
from greennode_batch.job.file_types import check_type, decimal_digits

_TYPES: Mapping[str, Callable[[], pa.DataType]] = {
    "text": pa.string,
    "integer": pa.int64,
    "float": pa.float64,
    "boolean": pa.bool_,
    "date": pa.date32,
    "timestamp": lambda: pa.timestamp("us"),
    "timestamptz": lambda: pa.timestamp("us", "UTC"),
    "json": pa.json_,
}
_DECIMAL128_DIGITS = 38
_INTEGER_DIGITS = 20
_OUT_OF_RANGE = "<value out of range"


def declared_type(words: str) -> pa.DataType:
    """The Arrow type for a declared type. Raises ConfigError for a type that a job may not declare."""
    check_type(words)
    decimal = decimal_digits(words)
    if decimal is None:
        return _TYPES[words]()
    return (pa.decimal128 if decimal[0] <= _DECIMAL128_DIGITS else pa.decimal256)(*decimal)


def as_type(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Cast the values to a type. Raises RowError, with its index, for the first value that the type cannot hold."""
    if array.type == wanted:
        return array
    try:
        return _cast(array, wanted)
    except (pa.ArrowException, NotImplementedError) as error:
        words = " ".join(str(error).split())
        raise RowError(
            f"a value cannot be converted to {wanted} ({words}); fix the value, or declare another type. "
            "Nothing was sent",
            row=_first_refused(array, wanted),
        ) from None


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if wanted == pa.json_():
        return pa.ExtensionArray.from_storage(wanted, array.cast(pa.string()))
    # Arrow refuses to cast any 64-bit integer to a decimal of few digits, even if the value would fit.
    is_whole = pa.types.is_decimal(wanted) and pa.types.is_integer(array.type)
    made = (array.cast(pa.decimal128(_INTEGER_DIGITS, 0)) if is_whole else array).cast(wanted)
    if pa.types.is_string(wanted):
        if pa.types.is_timestamp(array.type) and pc.any(pc.starts_with(made, _OUT_OF_RANGE)).as_py():
            raise pa.ArrowInvalid("it is beyond the years that have a text")
    elif pa.types.is_string(array.type) and pc.any(_is_other(array, made)).as_py():
        raise pa.ArrowInvalid("the type has no such number")
    elif _may_change(array.type, wanted):
        # By way of text, because Arrow computes a float from a decimal's digits, not always the nearest one.
        back = (made.cast(pa.string()) if pa.types.is_decimal(wanted) else made).cast(array.type)
        if not pc.all(pc.equal(back, array)).as_py():
            raise pa.ArrowInvalid("it would be rounded")
    return made


def _is_other(texts: pa.Array, made: pa.Array) -> pa.Array:
    """Whether Arrow reads a text as a number that few people mean: 1e400 as infinity, 1e-400 as 0, 0x10 as 16."""
    if pa.types.is_integer(made.type):
        return pc.match_substring_regex(texts, "[xX]")
    if not pa.types.is_floating(made.type):
        return pa.array([False] * len(made))
    is_infinite = pc.and_(pc.is_inf(made), pc.match_substring_regex(texts, "[0-9]"))
    return pc.or_(is_infinite, pc.and_(pc.equal(made, 0.0), pc.match_substring_regex(texts, "^[^eE]*[1-9]")))


def _may_change(arrow: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether Arrow changes values without an error: it rounds to a decimal's scale, and takes 7 for true."""
    if pa.types.is_boolean(wanted):
        return bool(pa.types.is_integer(arrow) or pa.types.is_floating(arrow))
    return bool(pa.types.is_decimal(wanted) and pa.types.is_floating(arrow))


def _first_refused(array: pa.Array, wanted: pa.DataType) -> int:
    start, stop = 0, len(array)
    while stop - start > 1:
        half = (start + stop) // 2
        try:
            _cast(array[start:half], wanted)
            start = half
        except (pa.ArrowException, NotImplementedError):
            stop = half
    return start
