"""State rows: a table of states says what the page shows, what a person can do, and what to do next.

A table is read from the top; the first row that holds applies. docs/reference/page.md lists all rows, generated
from the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

Look = Literal["good", "bad", "busy", "idle"]
"""The colour of a badge."""
Action = Literal["approve", "task", "cancel"]

ACTIONS: Mapping[Action, str] = {
    "approve": "Approve or reject in Airflow",
    "task": "Open the task in Airflow",
    "cancel": "Cancel batches…",
}
"""The actions of the page: a link to Required Actions, a link to the task, a button that asks before it cancels."""


class Facts(Protocol):
    """What is known of a run, a task or a batch."""

    @property
    def fields(self) -> Mapping[str, str]:
        """The values that a row's words may use."""


F = TypeVar("F", bound=Facts)


@dataclass(frozen=True)
class Row(Generic[F]):
    """One state. when, holds: the facts it is for, in words and as code. words, next_step: with fields of the facts.

    badge: one or two words. actions: what the page offers, if there is something to act on.
    """

    name: str
    when: str
    holds: Callable[[F], bool]
    badge: str
    look: Look
    words: str
    next_step: str = ""
    actions: tuple[Action, ...] = ()


class State(msgspec.Struct, frozen=True):
    """What the page shows: a row with its words filled in."""

    name: str
    badge: str
    look: Look
    words: str
    next_step: str
    actions: tuple[Action, ...]


def row_of(table: Sequence[Row[F]], facts: F) -> Row[F]:
    """The first row that holds. The last row of each table holds for all facts."""
    return next(row for row in table if row.holds(facts))


def state_of(table: Sequence[Row[F]], facts: F) -> State:
    """The same, filled in for the page."""
    row, fields = row_of(table, facts), facts.fields
    words, next_step = (text.format_map(fields) for text in (row.words, row.next_step))
    return State(row.name, row.badge, row.look, words, next_step, row.actions)


def sentence(error: str) -> str:
    """An error as a part of a sentence."""
    return error.rstrip(". \n") or "Airflow has recorded no reason; the task's log may have one"
