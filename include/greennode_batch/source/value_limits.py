"""Value limits: which values a column of a target does not hold as they are.

A value that the database would refuse counts. One that it would round without an error counts as well, unless the
caller accepts rounding. What is compared with Arrow is exact; only texts, and numbers that Arrow cannot decide, are
compared one by one.
"""

# ruff: noqa: ARG001, FBT001 - all functions in _READERS take the same arguments, by position.

from __future__ import annotations

import datetime
import ipaddress
import json
import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.source.column_types import is_json
from greennode_batch.source.postgres_texts import (
    TextRange,
    array_items,
    interval_scale,
    is_bytes,
    is_interval,
    money_amount,
    ranges_in,
)
from greennode_batch.state.column_limit import ColumnLimit

_MAX_BIGINT = (1 << 63) - 1
# PostgreSQL's numeric without a precision.
_MOST_DIGITS, _MOST_SCALE = 131_072, 16_383
_MICROSECONDS, _CENTS = 6, 2
_SECONDS = 1 << 31
_DAY = 86_400_000_000
_NUMBER = re.compile(r"[ \t\n\r\f\v]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?[ \t\n\r\f\v]*", re.ASCII)
_WHOLE = re.compile(r"[ \t\n\r\f\v]*[+-]?\d+[ \t\n\r\f\v]*", re.ASCII)
_UUID = re.compile(r"(\{)?([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}(?(1)\})")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.(\d{1,6}))?)?", re.ASCII)
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.(?P<fraction>\d{1,6}))?)?(?P<zone>Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
_TRUTHS = frozenset({"true", "t", "yes", "y", "on", "1", "false", "f", "no", "n", "off", "0"})
_NETWORK_BITS = re.compile(r"[0-9a-fA-F.:]+(/\d{1,3})?", re.ASCII)
_NOT_IN_JSONB = re.compile("[\x00\ud800-\udfff]")


def can_exceed(field: pa.Field, limit: ColumnLimit) -> bool:
    """Whether a value of this field's type may be one that the column does not hold."""
    arrow, kind = field.type, limit.kind
    is_numeric = kind == "numeric" and limit.digits is None
    if kind == "text":
        made = limit.max_length is not None
    elif pa.types.is_string(arrow):
        made = not (kind in {"json", "jsonb"} and is_json(field))
    elif pa.types.is_integer(arrow):
        is_bigint = kind == "integer" and limit.least == -_MAX_BIGINT - 1 and limit.greatest == _MAX_BIGINT
        made = not is_numeric and not (is_bigint and not pa.types.is_uint64(arrow))
    elif pa.types.is_timestamp(arrow):
        is_exact = kind != "date" and (limit.scale is None or limit.scale >= _MICROSECONDS)
        made = kind in {"timestamp", "zoned", "date"} and not is_exact
    elif pa.types.is_time(arrow):
        made = kind == "time" and limit.scale is not None and limit.scale < _MICROSECONDS
    else:
        is_number = pa.types.is_floating(arrow) or pa.types.is_decimal(arrow)
        made = is_number and not is_numeric and not (kind == "double" and pa.types.is_floating(arrow))
    return made


def beyond(values: pa.Array | pa.ChunkedArray, limit: ColumnLimit, *, may_round: bool = False) -> pa.Array:
    """For each value, whether the column does not hold it as it is. NULL counts as held.

    may_round: a column of fractions may keep fewer digits behind the point than the value has.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    arrow = values.type
    if limit.kind == "text":
        made = pc.greater(pc.utf8_length(values.cast(pa.string())), limit.max_length)
    elif limit.kind == "words":
        made = pc.invert(pc.is_in(values.cast(pa.string()), value_set=pa.array(limit.words, pa.string())))
    elif pa.types.is_timestamp(arrow) or pa.types.is_time(arrow):
        made = pa.array([False] * len(values)) if may_round and limit.kind != "date" else _beyond_moment(values, limit)
    elif pa.types.is_signed_integer(arrow) and limit.kind == "integer":
        made = pc.or_(pc.less(values, _int64(limit.least)), pc.greater(values, _int64(limit.greatest)))
    else:
        made = _checked(values, _suspects(values, limit), limit, may_round=may_round)
    return pc.and_(pc.fill_null(made, fill_value=False), pc.is_valid(values))


def _int64(bound: int | None) -> pa.Scalar:
    assert bound is not None, "an integer has a range"
    return pa.scalar(max(-_MAX_BIGINT - 1, min(_MAX_BIGINT, bound)), pa.int64())


def _beyond_moment(values: pa.Array, limit: ColumnLimit) -> pa.Array:
    if pa.types.is_time32(values.type):
        values = values.cast(pa.time64("us"))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[values.type.unit]
    counts = pc.fill_null(values.view(pa.int64()), 0).to_numpy(zero_copy_only=False)
    step = per_second * 86_400 if limit.kind == "date" else max(1, per_second // 10 ** (limit.scale or 0))
    return pa.array(counts % step != 0)


def _suspects(values: pa.Array, limit: ColumnLimit) -> pa.Array | None:
    """Which values are to be checked one by one; None for all of them."""
    arrow, kind = values.type, limit.kind
    if pa.types.is_floating(arrow):
        if kind == "real":
            # Single precision keeps a number if its shortest text reads back the same.
            back = values.cast(pa.float32(), safe=False).cast(pa.string()).cast(pa.float64())
            return pc.not_equal(back, values)
        if kind == "integer":
            return pc.or_(
                pc.not_equal(pc.trunc(values), values),
                pc.or_(pc.less(values, float(limit.least or 0)), pc.greater_equal(values, float(limit.greatest or 0))),
            )
        if kind == "numeric" and limit.digits is not None and limit.scale is not None:
            is_large = pc.greater_equal(pc.abs(values), 10.0 ** min(308, limit.digits - limit.scale))
            # Arrow cannot round the largest floats.
            small = pc.if_else(is_large, 0.0, values)
            return pc.or_(is_large, pc.not_equal(pc.round(small, ndigits=limit.scale), small))
    if pa.types.is_signed_integer(arrow):
        most = {"real": 1 << 24, "double": 1 << 53}.get(kind)
        if kind == "numeric" and limit.digits is not None and limit.scale is not None and limit.scale >= 0:
            most = 10 ** max(0, min(18, limit.digits - limit.scale))
        if most is not None:
            return pc.or_(pc.less_equal(values, -most), pc.greater_equal(values, most))
    return None


def _checked(values: pa.Array, suspects: pa.Array | None, limit: ColumnLimit, *, may_round: bool) -> pa.Array:
    if suspects is not None and not pc.any(suspects).as_py():
        return suspects
    wanted = [True] * len(values) if suspects is None else suspects.to_pylist()
    is_held = _READERS[limit.kind]
    return pa.array(
        [
            bool(is_wanted and value is not None and not is_held(value, limit, may_round))
            for is_wanted, value in zip(wanted, values.to_pylist(), strict=True)
        ],
        pa.bool_(),
    )


def _number(value: Any, pattern: re.Pattern[str] = _NUMBER) -> Decimal | None:
    """A number, exactly; None for a text that is none, and for what is not finite."""
    if isinstance(value, str) and not pattern.fullmatch(value):
        return None
    try:
        number = value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        return None
    return number if number.is_finite() else None


def _decimals(number: Decimal) -> int:
    """How many digits behind the point a number needs; negative if it ends with zeros before the point."""
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or not any(digits):
        return -_MOST_DIGITS
    zeros = next(index for index, digit in enumerate(reversed(digits)) if digit)
    return -(exponent + zeros)


def _is_integer(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    number = _number(value, _WHOLE)
    if number is None or limit.least is None or limit.greatest is None:
        return False
    return _decimals(number) <= 0 and limit.least <= number <= limit.greatest


def _is_numeric(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    number = _number(value)
    if number is None:
        return isinstance(value, float) and math.isnan(value)
    digits, scale = limit.digits, limit.scale or 0
    if digits is None:
        digits, scale = _MOST_DIGITS + _MOST_SCALE, _MOST_SCALE
    if may_round and number.adjusted() < digits:
        with localcontext(prec=digits + scale + 1):
            number = number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)
    return not number or (number.adjusted() < digits - scale and _decimals(number) <= scale)


def _is_float(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    number = _number(value)
    if number is None:
        return isinstance(value, float)
    # A number that is too large for the type is infinite there.
    with np.errstate(over="ignore"):
        stored = Decimal(str(np.float32(float(number))) if limit.kind == "real" else repr(float(number)))
    if may_round:
        # PostgreSQL refuses to make nothing of a number.
        return stored.is_finite() and bool(stored) == bool(number)
    return stored.is_finite() and stored == number


def _is_boolean(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    return str(value).strip(" \t\n\r\f\v").lower() in _TRUTHS


def _is_date(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    return isinstance(value, datetime.date) or _is_day(str(value))


def _is_day(text: str) -> bool:
    return bool(_DATE.fullmatch(text)) and _parses(datetime.date, text)


def _is_time(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    text = str(value)
    found = _TIME.fullmatch(text)
    return found is not None and (may_round or _is_fraction(found[3], limit)) and _parses(datetime.time, text)


def _is_timestamp(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    text = str(value)
    found = _TIMESTAMP.fullmatch(text)
    if found is None or (found["zone"] and limit.kind != "zoned"):
        return False
    if not (may_round or _is_fraction(found["fraction"], limit)):
        return False
    return _parses(datetime.datetime, text)


def _is_text(text: str, limit: ColumnLimit, may_round: bool) -> bool:
    """Whether a column holds a text, which is an item of an array or a bound of a range."""
    if limit.kind == "text":
        return limit.max_length is None or len(text) <= limit.max_length
    return text in limit.words if limit.kind == "words" else _READERS[limit.kind](text, limit, may_round)


def _is_array(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    items, item = array_items(str(value)), limit.element
    if items is None:
        return False
    return item is None or all(one is None or _is_text(one, item, may_round) for one in items)


def _is_range(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    ranges, bound = ranges_in(str(value), is_multirange=limit.kind == "multirange"), limit.element
    if ranges is None or bound is None:
        return False
    bounds = [text for one in ranges for text in (one.lower, one.upper) if text is not None]
    return all(_is_text(text, bound, may_round) for text in bounds) and all(_is_in_order(one, bound) for one in ranges)


def _is_in_order(one: TextRange, bound: ColumnLimit) -> bool:
    """Whether a range ends where it begins or later, and has a form with its lower bound and without its upper one."""
    lower, upper = (None if text is None else _ordered(text, bound.kind) for text in (one.lower, one.upper))
    if bound.greatest is not None:
        is_last = (lower == bound.greatest and not one.has_lower) or (upper == bound.greatest and one.has_upper)
        if is_last:
            return False
    return lower is None or upper is None or bool(lower <= upper)


def _ordered(text: str, kind: str) -> Any:
    if kind == "date":
        return datetime.date.fromisoformat(text)
    if kind in {"timestamp", "zoned"}:
        moment = datetime.datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return _number(text)


def _is_interval(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    # PostgreSQL reads a number as seconds, but none with an exponent.
    if isinstance(value, str):
        is_held, text = is_interval(value), value
    else:
        is_held, text = abs(value) < _SECONDS and "e" not in f"{value}", f"{value} seconds"
    if not is_held or limit.scale is None or (may_round and limit.scale >= 0):
        return is_held
    return interval_scale(text) <= limit.scale


def _is_money(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    # Arrow writes floats with an exponent where Python does not.
    text = value if isinstance(value, str) else pa.array([value]).cast(pa.string())[0].as_py()
    amount = money_amount(text)
    return amount is not None and (may_round or _decimals(amount) <= _CENTS)


def _is_bytes(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    return is_bytes(str(value))


def _is_fraction(digits: str | None, limit: ColumnLimit) -> bool:
    return len((digits or "").rstrip("0")) <= (_MICROSECONDS if limit.scale is None else limit.scale)


def _parses(kind: Any, text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_uuid(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    return bool(_UUID.fullmatch(str(value)))


def _is_json(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    def is_large(number: str) -> None:
        if limit.kind == "jsonb" and not _is_numeric(number, ColumnLimit("", "", "", "numeric"), may_round=False):
            raise ValueError(number)

    def refused(word: str) -> None:
        raise ValueError(word)

    try:
        made = json.loads(str(value), parse_int=is_large, parse_float=is_large, parse_constant=refused)
    except (ValueError, RecursionError):
        return False
    return limit.kind == "json" or not _has_refused(made)


def _has_refused(value: Any) -> bool:
    """Whether a JSON value has a character that jsonb does not take."""
    if isinstance(value, dict):
        return any(map(_has_refused, value)) or any(map(_has_refused, value.values()))
    if isinstance(value, list):
        return any(map(_has_refused, value))
    return isinstance(value, str) and bool(_NOT_IN_JSONB.search(value))


def _is_address(value: Any, limit: ColumnLimit, may_round: bool) -> bool:
    text = str(value)
    if not _NETWORK_BITS.fullmatch(text):
        return False
    try:
        ipaddress.ip_network(text) if limit.kind == "cidr" else ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[Any, ColumnLimit, bool], bool]] = {
    "integer": _is_integer,
    "numeric": _is_numeric,
    "real": _is_float,
    "double": _is_float,
    "boolean": _is_boolean,
    "date": _is_date,
    "time": _is_time,
    "timestamp": _is_timestamp,
    "zoned": _is_timestamp,
    "uuid": _is_uuid,
    "json": _is_json,
    "jsonb": _is_json,
    "inet": _is_address,
    "cidr": _is_address,
    "array": _is_array,
    "range": _is_range,
    "multirange": _is_range,
    "interval": _is_interval,
    "money": _is_money,
    "bytes": _is_bytes,
}
