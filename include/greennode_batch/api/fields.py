"""Fields of a JSON object that differ by API: names, times, numbers, ids."""

import datetime as dt
import functools
import math
import re
from collections.abc import Mapping
from typing import Any

# No column or file format holds more.
_MAX_COUNT = 1 << 63
_UNDERSCORE = re.compile(r"_([a-z])")
_CAMEL_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SEPARATORS = re.compile(r"[\s\-_.]+")
# The size of an epoch shows its unit (seconds, milliseconds, microseconds or nanoseconds): 1e11 s is the year 5138.
_EPOCH_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))


def pick(obj: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields with a value (not absent, null or ""), in snake or camel case."""
    for name in names:
        value = obj.get(name)
        if value is None and "_" in name:
            value = obj.get(camel(name))
        if value is not None and value != "":
            return value
    return None


def at(data: object, path: str) -> Any:
    """The value at a dotted path, such as `data.job.id`; a number is an index of a list. None if there is none."""
    for name in path.split("."):
        if isinstance(data, Mapping):
            data = data.get(name)
        elif isinstance(data, list) and name.isdecimal() and int(name) < len(data):
            data = data[int(name)]
        else:
            return None
    return None if data == "" else data


@functools.cache
def camel(name: str) -> str:
    """A field's name in camel case: input_file_id -> inputFileId."""
    return _UNDERSCORE.sub(lambda hump: hump[1].upper(), name)


def plain_word(word: str) -> str:
    """A word of an API in lower case with underscores: `InProgress`, `in-progress` and `IN PROGRESS` are one."""
    return _SEPARATORS.sub("_", _CAMEL_HUMP.sub("_", word.strip())).strip("_").lower()


def text(value: object) -> str | None:
    """A string or a number as text; None for anything else, and for ""."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value)


def count(value: object) -> int | None:
    """A whole number from 0 to 2**63 - 1, also from a numeric string or a float; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MAX_COUNT:
        return None
    return int(value)


def identifier(value: object) -> str | None:
    """An id as text: itself, the `id` of an object, or the first of a list."""
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = pick(value, "id", "file_id", "url")
    return text(value)


def epoch_seconds(value: object, *, is_sure: bool = False) -> float | None:
    """A time as epoch seconds, from seconds, milli-, micro-, nanoseconds, numeric strings or ISO 8601.

    None for zero, for Go's zero time (year 1) and for what is not a time. A time without an offset counts as UTC; with
    is_sure it is None, because it may be a local time, hours off.
    """
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return _iso_seconds(value, is_sure=is_sure)
        value = number
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    if not math.isfinite(seconds) or seconds <= 0:
        return None
    for limit, unit in _EPOCH_UNITS:
        if seconds > limit:
            return seconds / unit
    return seconds


def _iso_seconds(value: str, *, is_sure: bool) -> float | None:
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        if moment.tzinfo is None and is_sure:
            return None
        seconds = moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
