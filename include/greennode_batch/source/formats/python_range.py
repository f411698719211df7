"""Python's range: values of Arrow that Python cannot hold, so that a prompt would show another value or none.

Python's years are 1 to 9999, also in the time zone of the column, and its times have microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
# The first and the last second of Python's years, without the days next to them, which depend on the time zone.
_SURE_SECONDS = (-62_135_596_800 + _DAY, 253_402_300_799 - _DAY)
_SURE_DAYS = (-719_162, 2_932_896)
_SURE_SPAN = 999_999_999 * _DAY
_MICROSECOND = 1_000
_INT64 = (-(2**63), 2**63 - 1)


def first_beyond(array: pa.Array) -> int | None:
    """The index of the first value that Python cannot hold; None if there is none."""
    if not has_times(array.type):
        return None
    if pa.types.is_nested(array.type):
        # Their values are found one by one, but only where there is one to be found.
        if all(first_beyond(leaf) is None for leaf in leaves(array)):
            return None
        return next((index for index, value in enumerate(array) if _is_beyond(value)), None)
    doubtful = pc.fill_null(_doubtful(array), fill_value=False)
    if not pc.any(doubtful).as_py():
        return None
    if pa.types.is_time(array.type):
        return int(pc.index(doubtful, value=True).as_py())
    found = np.flatnonzero(doubtful.to_numpy(zero_copy_only=False)).tolist()
    return next((index for index in found if _is_beyond(array[index])), None)


def has_times(arrow: pa.DataType) -> bool:
    """Whether a type has values that Python may be unable to hold."""
    if pa.types.is_nested(arrow):
        return any(has_times(arrow.field(index).type) for index in range(arrow.num_fields))
    if pa.types.is_time(arrow):
        return bool(arrow == pa.time64("ns"))
    return bool(pa.types.is_temporal(arrow))


def leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays of values that a nested array is made of; the array itself if it is not nested."""
    if not pa.types.is_nested(array.type):
        yield array
    elif pa.types.is_map(array.type):
        yield from leaves(array.keys)
        yield from leaves(array.items)
    else:
        made = array.flatten()
        for part in made if isinstance(made, list) else [made]:
            yield from leaves(part)


def _doubtful(array: pa.Array) -> pa.Array:
    arrow = array.type
    if pa.types.is_date32(arrow):
        return _outside(array.cast(pa.int32()), *_SURE_DAYS)
    if pa.types.is_date64(arrow):
        return _outside(array.cast(pa.int64()), *(day * _DAY * 1_000 for day in _SURE_DAYS))
    if pa.types.is_time(arrow):
        ticks = array.cast(pa.int64())
        return pc.not_equal(pc.multiply(pc.divide(ticks, _MICROSECOND), _MICROSECOND), ticks)
    if pa.types.is_timestamp(arrow):
        return _outside(array.cast(pa.int64()), *(second * _PER_SECOND[arrow.unit] for second in _SURE_SECONDS))
    if pa.types.is_duration(arrow):
        span = _SURE_SPAN * _PER_SECOND[arrow.unit]
        return _outside(array.cast(pa.int64()), -span, span)
    return pa.repeat(pa.scalar(value=False), len(array))


def _outside(ticks: pa.Array, least: int, most: int) -> pa.Array:
    if ticks.type == pa.int64():
        least, most = max(least, _INT64[0]), min(most, _INT64[1])
    return pc.or_(pc.less(ticks, pa.scalar(least, ticks.type)), pc.greater(ticks, pa.scalar(most, ticks.type)))


def _is_beyond(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except (OverflowError, ValueError):
        return True
    # Python would drop the nanoseconds of a time in a list without an error.
    return pa.types.is_nested(value.type) and any(
        first_beyond(leaf) is not None for leaf in leaves(pa.array([value], value.type))
    )
