"""Part: one of those that a source is read in, each by a task of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Part(NamedTuple):
    """Counted from 0, as Airflow counts mapped tasks."""

    number: int
    total: int

    def dealt(self, items: Sequence[T]) -> Sequence[T]:
        """The part's own of some items; each of them falls to one part."""
        return items[self.number :: self.total]


WHOLE = Part(0, 1)
"""All that there is."""
