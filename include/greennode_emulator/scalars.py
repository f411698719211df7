"""Numbers and strings that satisfy the keywords of a JSON schema."""

import datetime as dt
import math
import re
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from greennode_emulator.answer_words import word, words
from greennode_emulator.dice import Dice
from greennode_emulator.patterns import PatternError, matching_text

Schema = Mapping[str, Any]

# The range of numbers if a schema gives no bound, or only one.
_REACH = 1000
_EPOCH = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_PATTERN_TRIES = 20


class UnsatisfiableError(Exception):
    """No value can be found for this part of the schema."""


def integer(schema: Schema, dice: Dice) -> int:
    """A whole number within the bounds."""
    low, high = _whole_bounds(schema)
    step = schema.get("multipleOf", 1)
    if step != int(step):
        # 0.5 allows every whole number, 1.5 every third; counting in quarters and the like is not worth it.
        raise UnsatisfiableError(f"integer with multipleOf {step}")
    step = int(step)
    first, last = _range(low, high, step)
    return step * dice.between(first, last)


def number(schema: Schema, dice: Dice) -> float:
    """A number within the bounds, with few digits if there is room."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lows = [float(x) for x in (low, above) if x is not None]
    highs = [float(x) for x in (high, under) if x is not None]

    def fits(value: float) -> bool:
        return (
            (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
            and (under is None or value < under)
        )

    start = max(lows) if lows else (min(highs) - _REACH if highs else 0.0)
    end = min(highs) if highs else start + _REACH
    if start <= end:
        for value in _candidates(start, end, schema.get("multipleOf"), dice):
            if fits(value):
                return value
    raise UnsatisfiableError("a number between bounds that leave none")


def _candidates(start: float, end: float, step: float | None, dice: Dice) -> list[float]:
    """Numbers from start to end, the best first; a few may lie just outside."""
    if step is None:
        value = start + (end - start) * dice.between(1, 999) / 1000
        return [round(value, 2), round(value, 6), value, start]
    # One more on each side, so that rounding does not cut off a multiple.
    multiples = _spread(math.floor(start / step), math.ceil(end / step), dice)
    return [round(n * step, 10) for n in multiples]


def text(schema: Schema, dice: Dice) -> str:
    """A string of the right length, format or pattern."""
    least = schema.get("minLength", 0)
    most = schema.get("maxLength", max(60, least))
    if least > most:
        raise UnsatisfiableError("minLength over maxLength")
    if "pattern" in schema:
        return _patterned(schema["pattern"], least, schema.get("maxLength", math.inf), dice)
    maker = _FORMATS.get(schema.get("format", ""))
    if maker is None:
        return words(dice, min_chars=least, max_chars=most)
    value = maker(dice)
    if not least <= len(value) <= schema.get("maxLength", len(value)):
        raise UnsatisfiableError(f"a {schema['format']} of that length")
    return value


def _patterned(pattern: str, least: int, most: float, dice: Dice) -> str:
    try:
        expression = _compiled(pattern)
        for _ in range(_PATTERN_TRIES):
            value = matching_text(pattern, dice)
            if least <= len(value) <= most and expression.search(value):
                return value
    except (PatternError, re.error) as error:
        raise UnsatisfiableError(f"pattern {pattern!r}: {error}") from error
    raise UnsatisfiableError(f"pattern {pattern!r} of that length")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _whole_bounds(schema: Schema) -> tuple[int, int]:
    lows = [math.ceil(schema["minimum"])] if "minimum" in schema else []
    highs = [math.floor(schema["maximum"])] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        lows.append(math.floor(schema["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in schema:
        highs.append(math.ceil(schema["exclusiveMaximum"]) - 1)
    reach = max(_REACH, 2 * int(schema.get("multipleOf", 1)))
    low = max(lows) if lows else (min(highs) - reach if highs else 0)
    return low, min(highs) if highs else low + reach


def _range(low: int, high: int, step: int) -> tuple[int, int]:
    first, last = -(-low // step), high // step
    if first > last:
        raise UnsatisfiableError("a whole number between bounds that leave none")
    return first, last


def _spread(first: int, last: int, dice: Dice) -> list[int]:
    """A few numbers of the range, the ends and their neighbours last."""
    inner = [dice.between(first, last) for _ in range(8)]
    return [*inner, *range(first, min(first + 3, last + 1)), *range(max(first, last - 2), last + 1)]


def _moment(dice: Dice) -> dt.datetime:
    return _EPOCH + dt.timedelta(seconds=dice.below(6 * 365 * 86400))


_FORMATS: dict[str, Callable[[Dice], str]] = {
    "date": lambda dice: _moment(dice).date().isoformat(),
    "date-time": lambda dice: _moment(dice).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "time": lambda dice: _moment(dice).strftime("%H:%M:%SZ"),
    "duration": lambda dice: f"P{dice.between(1, 30)}DT{dice.below(24)}H",
    "uuid": lambda dice: str(uuid.UUID(int=dice.below(1 << 128), version=4)),
    "email": lambda dice: f"{word(dice)}.{word(dice)}@example.com",
    "uri": lambda dice: f"https://example.com/{word(dice)}/{dice.below(1000)}",
    "hostname": lambda dice: f"{word(dice)}.example.com",
    "ipv4": lambda dice: f"192.0.2.{dice.below(256)}",
    "ipv6": lambda dice: f"2001:db8::{dice.below(65536):x}",
}
