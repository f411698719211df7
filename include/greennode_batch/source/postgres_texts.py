"""PostgreSQL's texts for arrays, ranges, intervals, money and bytes: which of them it surely reads, and as what.

It reads more forms than these. A form that depends on a setting of the session, or that is read as another value than
most people mean, is not among them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from greennode_batch.source.exact_json import json_text, read_json

_MAX_DIMENSIONS = 6
_ITEM = r'"(?:[^"\\]|\\.)*"|[^\s{},"\\](?:[^{},"\\]*[^\s{},"\\])?'
_FLAT_ARRAY = re.compile(rf"\s*\{{\s*(?:(?:{_ITEM})\s*(?:,\s*(?:{_ITEM})\s*)*)?\}}\s*", re.DOTALL)
_ITEMS = re.compile(_ITEM, re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE = re.compile(r'(["\\])')

_BOUND = r'"[^"\\]*"|[^"\\,()\[\]]*'
_RANGE = rf"\s*(?P<open>[\[(])(?P<lower>{_BOUND}),(?P<upper>{_BOUND})(?P<close>[\])])\s*"
_ONE_RANGE = re.compile(_RANGE)
_RANGES = re.compile(rf"\s*\{{(?:{re.sub('[?]P<[a-z]+>', '?:', _RANGE)}(?:,(?=\s*[\[(])|(?=\}})))*\}}\s*")

_MONEY = re.compile(r"\s*[-+]?\$?(\d+|\d{1,3}(,\d{3})+)(\.\d*)?\s*", re.ASCII)
_CENTS = (1 << 63) - 1

_NUMBER = r"-?\d{1,6}(?:\.\d{1,6})?"
_UNITS = ("years?", "mons?|months?", "weeks?", "days?", "hours?", "min(?:ute)?s?", "sec(?:ond)?s?")
_CLOCK = r"\d{1,6}:[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
_DAYS, _HOURS = ("".join(rf"(?:{_NUMBER}\s*(?:{unit})\s*,?\s*)?" for unit in some) for some in (_UNITS[:4], _UNITS[4:]))
_VERBOSE = re.compile(rf"\s*(?=[-\d]){_DAYS}(?:{_HOURS}|{_CLOCK})\s*", re.ASCII | re.IGNORECASE)
_PART = r"(?:\d{1,6}%s)?"
_ISO = re.compile(
    f"-?P(?=[T\\d]){''.join(_PART % unit for unit in 'YMWD')}"
    rf"(?:T(?=\d){_PART % 'H'}{_PART % 'M'}(?:\d{{1,6}}(?:\.\d{{1,6}})?S)?)?",
    re.ASCII,
)
_YEARS, _MICROSECONDS = -5, 6
_UNIT_SCALES = {"ye": _YEARS, "mo": -4, "we": -3, "da": -3, "ho": -2, "mi": -1, "se": 0}
_ISO_SCALES, _ISO_CLOCK_SCALES = {"Y": _YEARS, "M": -4, "W": -3, "D": -3}, {"H": -2, "M": -1, "S": 0}
_NUMBER_UNIT = re.compile(rf"({_NUMBER})\s*({'|'.join(_UNITS)})", re.ASCII | re.IGNORECASE)
_ISO_PART = re.compile(r"([\d.]+)([A-Z])")
_CLOCK_PARTS = re.compile(r"(\d{1,6}):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?", re.ASCII)
_ISO_NUMBER = re.compile(r"[\d.]+")

_BYTES = re.compile(r"\\x(?:[0-9a-fA-F]{2})*|[^\\]*")


class TextRange(NamedTuple):
    """A range as text. A bound is None if there is none."""

    lower: str | None
    upper: str | None
    has_lower: bool
    """Whether the lower bound is part of the range."""
    has_upper: bool


def array_values(text: str) -> list[Any] | None:
    """The items of an array as texts: of a JSON list, also of lists of the same lengths, or of PostgreSQL's `{a,b}`.

    None for any other text.
    """
    values = _json_list(text)
    if values is not None:
        return None if _lengths(values) is None else _texts(values)
    if not _FLAT_ARRAY.fullmatch(text):
        return None
    return [_item(one) for one in _ITEMS.findall(text)]


def array_items(text: str) -> list[str | None] | None:
    """As `array_values`, without the lists in a list."""
    values = array_values(text)
    return None if values is None else _leaves(values)


def array_text(text: str) -> str:
    """A list as PostgreSQL's `{"a","b"}`; any other text as it is."""
    values = array_values(text)
    return text if values is None else _written(values)


def ranges_in(text: str, *, is_multirange: bool) -> Sequence[TextRange] | None:
    """The ranges of a text, which is one range or `{[1,5),[7,9)}`; None for any other text."""
    pattern = _RANGES if is_multirange else _ONE_RANGE
    if not is_multirange and text.strip().lower() == "empty":
        return []
    if not pattern.fullmatch(text):
        return None
    return [
        TextRange(_bound(one["lower"]), _bound(one["upper"]), one["open"] == "[", one["close"] == "]")
        for one in _ONE_RANGE.finditer(text)
    ]


def is_interval(text: str) -> bool:
    """Whether a text is an interval such as `1 year 3 days 02:00:00` or `P3DT2H`."""
    return bool(_VERBOSE.fullmatch(text) or _ISO.fullmatch(text))


def interval_scale(text: str) -> int:
    """The least part of an interval that is not zero: digits of a second, or a unit, as a ColumnLimit counts them.

    A fraction of a unit counts as the finest part, whatever PostgreSQL makes of it. So do 60 minutes as minutes.
    """
    parts = [(number, _UNIT_SCALES[unit[:2].lower()]) for number, unit in _NUMBER_UNIT.findall(text)]
    if is_iso := _ISO.fullmatch(text):
        days, _, clock = is_iso[0].partition("T")
        parts = [(number, _ISO_SCALES[unit]) for number, unit in _ISO_PART.findall(days)]
        parts += [(number, _ISO_CLOCK_SCALES[unit]) for number, unit in _ISO_PART.findall(clock)]
    for clock_parts in _CLOCK_PARTS.findall(text):
        parts += zip((part or "0" for part in clock_parts), (-2, -1, 0), strict=True)
    return max((_scale_of(number, scale) for number, scale in parts), default=_YEARS)


def _scale_of(number: str, unit: int) -> int:
    whole, _, digits = number.partition(".")
    digits = digits.rstrip("0")
    if digits:
        return len(digits) if unit == 0 else _MICROSECONDS
    return unit if int(whole) else _YEARS


def interval_text(text: str) -> str:
    """A negative interval in the form of ISO 8601, of which PostgreSQL wants a sign at each number."""
    return _ISO_NUMBER.sub(r"-\g<0>", text[1:]) if text.startswith("-") and _ISO.fullmatch(text) else text


def money_amount(text: str) -> Decimal | None:
    """The number of an amount such as `$1,234.50`; None for any other text, and for one that money cannot hold."""
    if not _MONEY.fullmatch(text):
        return None
    amount = Decimal(re.sub("[$,\\s]", "", text))
    return amount if abs(amount).scaleb(2) < _CENTS else None


def is_bytes(text: str) -> bool:
    r"""Whether a text is bytes in hexadecimal digits behind `\x`, or stands for its own bytes."""
    return bool(_BYTES.fullmatch(text))


def _json_list(text: str) -> list[Any] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        values: list[Any] = read_json(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return values


def _lengths(values: list[Any]) -> tuple[int, ...] | None:
    """The lengths of a list and of the lists in it; None if they differ, or one inside is empty."""
    inner = {_lengths(one) if isinstance(one, list) else () for one in values}
    if len(inner) > 1 or None in inner:
        return None
    below = inner.pop() if inner else ()
    assert below is not None, "checked above"
    if 0 in below or len(below) >= _MAX_DIMENSIONS:
        return None
    return (len(values), *below)


def _texts(values: list[Any]) -> list[Any]:
    return [_texts(one) if isinstance(one, list) else _text(one) for one in values]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json_text(value)


def _leaves(values: list[Any]) -> list[str | None]:
    nested = (_leaves(one) if isinstance(one, list) else [one] for one in values)
    return list(itertools.chain.from_iterable(nested))


def _written(values: list[Any]) -> str:
    parts = []
    for one in values:
        if isinstance(one, list):
            parts.append(_written(one))
        else:
            parts.append("NULL" if one is None else '"' + _TO_ESCAPE.sub(r"\\\1", one) + '"')
    return "{" + ",".join(parts) + "}"


def _item(text: str) -> str | None:
    if text.startswith('"'):
        return _ESCAPED.sub(r"\1", text[1:-1])
    return None if text.upper() == "NULL" else text


def _bound(text: str) -> str | None:
    return text[1:-1] if text.startswith('"') else text.strip() or None
