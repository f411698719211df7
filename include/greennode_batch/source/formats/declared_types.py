"""Declared types: the Arrow types that `FileSource(types=…)` declares, and the conversion of values to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from greennode_batch.errors import ConfigError
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


def declared_type(words: str) -> pa.DataType:
    """The Arrow type for a declared type. Raises ConfigError for a type that a job may not declare."""
    check_type(words)
    decimal = decimal_digits(words)
    if decimal is None:
        return _TYPES[words]()
    return (pa.decimal128 if decimal[0] <= _DECIMAL128_DIGITS else pa.decimal256)(*decimal)


def as_type(array: pa.Array, wanted: pa.DataType, where: str) -> pa.Array:
    """Cast the values to a type. Raises ConfigError for a value that the type cannot hold.

    where: the file and column, for the error.
    """
    if array.type == wanted:
        return array
    try:
        if wanted == pa.json_():
            return pa.ExtensionArray.from_storage(wanted, array.cast(pa.string()))
        if pa.types.is_decimal(wanted) and pa.types.is_integer(array.type):
            # Arrow refuses to cast any 64-bit integer to a decimal of few digits, even if the value would fit.
            array = array.cast(pa.decimal128(_INTEGER_DIGITS, 0))
        return array.cast(wanted)
    except (pa.ArrowException, NotImplementedError) as error:
        words = " ".join(str(error).split())
        raise ConfigError(
            f"{where}: a value cannot be converted to {wanted} ({words}); fix the value, or declare another type. "
            "Nothing was sent"
        ) from None
