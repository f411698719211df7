"""Model: what a table holds after each run, in a few dozen lines that know nothing of the engine.

A request is what is asked: the prompt, the parameters, the model and the row's text. An outcome is what the server's
own files say of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Request = tuple[str, ...]


class Key(NamedTuple):
    """A row's key: the source's number, and the model where a job asks a list of them."""

    number: int
    model: str


Order = tuple[float, float]
GOOD, FINAL, PASSING = "good", "final", "passing"
Kind = Literal["good", "final", "passing"]
MANY = 20


class Outcome(NamedTuple):
    """What became of a request, as the target's column `status` has it, and whether another run may improve it."""

    status: str
    kind: str


UNSENT = Outcome("unsent", FINAL)


class Row(NamedTuple):
    """A row of a table. order: of the run that wrote it."""

    request: Request
    outcome: Outcome
    job: str
    run: str
    order: Order


@dataclass
class Table:
    """A table: its rows by key."""

    rows: dict[Key, Row] = field(default_factory=dict)

    def write(self, key: Key, new: Row) -> bool:
        """Write a row by the rule; whether it took its place."""
        old = self.rows.get(key)
        if old is not None and (old.job, old.run) != (new.job, new.run):
            if old.order > new.order:
                return False
            is_kept = old.request == new.request or new.outcome.kind == PASSING
            if old.outcome.kind == GOOD != new.outcome.kind and is_kept:
                return False
        self.rows[key] = new
        return True

    def settled(self, key: Key, request: Request, *, run: tuple[str, str], retry_final: bool) -> Kind | None:
        """What a row needs no new request for. run: the job and the run that ask."""
        row = self.rows.get(key)
        if row is None or row.request != request or row.outcome.kind == PASSING:
            return None
        is_asked_again = retry_final or (row.job, row.run) == run
        return None if row.outcome.kind == FINAL and is_asked_again else row.outcome.kind


class Copied(NamedTuple):
    """A row whose outcome some targets have, and the names of the others."""

    request: Request
    outcome: Outcome
    into: frozenset[str]


def look_up(
    tables: Mapping[str, Table], key: Key, request: Request, *, run: tuple[str, str], retry_final: bool
) -> Copied | None:
    """Where a row's outcome is, and which of the targets lack it; None if it has to be asked."""
    found = {name: table.settled(key, request, run=run, retry_final=retry_final) for name, table in tables.items()}
    best = GOOD if GOOD in found.values() else FINAL
    having = [name for name, kind in found.items() if kind == best]
    if not having:
        return None
    return Copied(request, tables[having[0]].rows[key].outcome, frozenset(tables).difference(having))


def failures(outcomes: Iterable[Outcome]) -> int:
    """How many of them are no good answer."""
    return sum(outcome.kind != GOOD for outcome in outcomes)


def systematic(outcomes: Mapping[Request, Outcome]) -> bool:
    """Whether so many requests of a run failed that none of them is final."""
    return len(outcomes) >= MANY and failures(outcomes.values()) * 2 > len(outcomes)
