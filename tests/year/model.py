"""Model: what a table holds after each run, in a few dozen lines that know nothing of the engine.

A request is what is asked: the prompt, the parameters, the model and the row's text. An outcome is what the server's
own files say of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Request = tuple[str, ...]
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

    rows: dict[int, Row] = field(default_factory=dict)

    def write(self, key: int, new: Row) -> bool:
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

    def settles(self, key: int, request: Request, *, retry_final: bool) -> bool:
        """Whether a row needs no new request."""
        row = self.rows.get(key)
        if row is None or row.request != request:
            return False
        return row.outcome.kind == GOOD or (row.outcome.kind == FINAL and not retry_final)


def to_ask(
    asks: Mapping[int, Request], tables: list[Table], *, refresh: str = "changed", retry_final: bool = False
) -> dict[int, Request]:
    """The keys whose requests a run has to ask. asks: of the source's rows, but those that cannot be sent."""
    if refresh == "all":
        return dict(asks)
    return {
        key: request
        for key, request in asks.items()
        if not all(table.settles(key, request, retry_final=retry_final) for table in tables)
    }


def systematic(outcomes: Mapping[Request, Outcome]) -> bool:
    """Whether so many requests of a run failed that none of them is final."""
    failed = sum(outcome.kind != GOOD for outcome in outcomes.values())
    return len(outcomes) >= MANY and failed * 2 > len(outcomes)
