"""Declared types: what `FileSource(types=…)` says of a column as Arrow has it, and how its values become that."""

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
    """The Arrow type that the words declare. Raises ConfigError for others than a job may use."""
    check_type(words)
    decimal = decimal_digits(words)
    if decimal is None:
        return _TYPES[words]()
    return (pa.decimal128 if decimal[0] <= _DECIMAL128_DIGITS else pa.decimal256)(*decimal)


def as_type(array: pa.Array, wanted: pa.DataType, where: str) -> pa.Array:
    """The values as a type holds them. where: the file and column. Raises ConfigError for one that it cannot hold."""
    if array.type == wanted:
        return array
    try:
        if wanted == pa.json_():
            return pa.ExtensionArray.from_storage(wanted, array.cast(pa.string()))
        if pa.types.is_decimal(wanted) and pa.types.is_integer(array.type):
            # Arrow casts no integer to a decimal of few digits, whatever its value.
            array = array.cast(pa.decimal128(_INTEGER_DIGITS, 0))
        return array.cast(wanted)
    except (pa.ArrowException, NotImplementedError) as error:
        words = " ".join(str(error).split())
        raise ConfigError(
            f"{where}: a value cannot be taken for {wanted} ({words}); mend it, or declare another type. "
            "Nothing was sent"
        ) from None
