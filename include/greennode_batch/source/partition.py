"""Part: the share of a source that one task reads, if a source is divided among several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Part(NamedTuple):
    """One of the parts of a source."""

    number: int
    """Counted from 0, as Airflow counts mapped tasks."""
    total: int
    """How many parts there are."""

    def dealt(self, items: Sequence[T]) -> Sequence[T]:
        """Select the items of this part. Each item belongs to exactly one part."""
        return items[self.number :: self.total]


WHOLE = Part(0, 1)
"""The single part of an undivided source."""
