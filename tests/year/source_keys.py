"""Source keys: how a row's number is written as its key: an integer, or a local time in the night of a clock change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

_ZONE = ZoneInfo("Europe/Berlin")
# From 2:00 on, each local time of the next hour comes twice.
_NIGHT = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
_STEP = timedelta(minutes=20)


class SourceKeys(NamedTuple):
    """How keys are written, and read again in whatever form a target has them."""

    of: Callable[[int], Any]
    number: Callable[[Any], int]


def _local_time(number: int) -> datetime:
    return (_NIGHT + number * _STEP).astimezone(_ZONE)


def _number(value: Any) -> int:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return (found - _NIGHT) // _STEP


NUMBERS = SourceKeys(int, int)
LOCAL_TIMES = SourceKeys(_local_time, _number)
