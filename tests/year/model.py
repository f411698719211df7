"""Model: what a target holds after each run, in a few dozen lines that know nothing of the engine.

A request is what is asked: the model, the parameters, the answer model, the prompt and the sample's number. An outcome
is what the server's own files say of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Request = tuple[str, ...]
Values = tuple[tuple[str, object], ...]


class Key(NamedTuple):
    """A row's key: the source's number; the model and the sample where a job asks several of them."""

    number: int
    model: str
    sample: int


Order = tuple[float, float]
GOOD, FINAL, PASSING = "good", "final", "passing"
Kind = Literal["good", "final", "passing"]
MANY = 20


class Outcome(NamedTuple):
    """What became of a request: as the target's column `status` has it, and whether another run may improve it.

    values: of the answer, by column.
    """

    status: str
    kind: str
    values: Values = ()


UNSENT = Outcome("unsent", FINAL)


class Row(NamedTuple):
    """A row of a target. order: of the run that wrote it."""

    request: Request
    outcome: Outcome
    job: str
    run: str
    order: Order


@dataclass
class Table:
    """A table: its rows by key."""

    rows: dict[Key, Row] = field(default_factory=dict)

    def write(self, key: Key, new: Row) -> None:
        """Write a row by the rule."""
        old = self.rows.get(key)
        if old is not None and (old.job, old.run) != (new.job, new.run):
            if old.order > new.order:
                return
            is_kept = old.request == new.request or new.outcome.kind == PASSING
            if old.outcome.kind == GOOD != new.outcome.kind and is_kept:
                return
        self.rows[key] = new

    def settled(self, key: Key, request: Request, *, run: tuple[str, str], retry_final: bool) -> Kind | None:
        """What a row needs no new request for. run: the job and the run that ask."""
        row = self.rows.get(key)
        if row is None or row.request != request or row.outcome.kind == PASSING:
            return None
        is_asked_again = retry_final or (row.job, row.run) == run
        return None if row.outcome.kind == FINAL and is_asked_again else row.outcome.kind

    def is_later(self, key: Key, order: Order) -> bool:
        """Whether a run later than this order has written the row, so that no outcome of this one would stay."""
        row = self.rows.get(key)
        return row is not None and row.order > order

    def is_taken_back(self, key: Key, run: tuple[str, str]) -> bool:
        """Whether a new build of that run takes the row out of the target: never, in a table."""
        return False

    def settle(self, run: tuple[str, str], keys: Collection[Key]) -> None:
        """Do what a report does to the target. keys: of the rows that the run has now."""


class Dataset:
    """A dataset: the rows of each run by key. Of several rows with a key, the same one counts as in a table."""

    def __init__(self) -> None:
        self.of_runs: dict[tuple[str, str], dict[Key, Row]] = {}

    @property
    def rows(self) -> dict[Key, Row]:
        """The rows that count."""
        table = Table()
        written = [(key, row) for rows in self.of_runs.values() for key, row in rows.items()]
        for key, row in sorted(written, key=lambda one: one[1].order):
            table.write(key, row)
        return table.rows

    def write(self, key: Key, new: Row) -> None:
        """Add a row; the run's own one of that key is replaced."""
        self.of_runs.setdefault((new.job, new.run), {})[key] = new

    def settled(self, key: Key, request: Request, *, run: tuple[str, str], retry_final: bool) -> Kind | None:
        """As of a table."""
        return Table(self.rows).settled(key, request, run=run, retry_final=retry_final)

    def is_later(self, key: Key, order: Order) -> bool:
        """As of a table."""
        return Table(self.rows).is_later(key, order)

    def is_taken_back(self, key: Key, run: tuple[str, str]) -> bool:
        """Whether a new build of that run takes the row out of the target, with the run's file."""
        row = self.rows.get(key)
        return row is not None and (row.job, row.run) == run

    def settle(self, run: tuple[str, str], keys: Collection[Key]) -> None:
        """Remove the rows of the run's earlier builds, and what other rows replace or replaces other rows."""
        own = self.of_runs.get(run, {})
        for key in own.keys() - set(keys):
            del own[key]
        standing = self.rows
        for key in list(own):
            for rows in self.of_runs.values():
                if key in rows and rows[key] is not standing[key]:
                    del rows[key]


Target = Table | Dataset


class Copied(NamedTuple):
    """A row whose outcome some targets have, and the names of the others."""

    request: Request
    outcome: Outcome
    into: frozenset[str]


class Asker(NamedTuple):
    """A run that looks up rows: its job and its name, its order, and what it asks again."""

    run: tuple[str, str]
    order: Order
    is_all: bool
    retry_final: bool


def look_up(targets: Mapping[str, Target], key: Key, request: Request, asker: Asker) -> Copied | None:
    """Where a row's outcome is, and which of the targets lack it; None if it has to be asked."""
    retry_final = asker.retry_final or asker.is_all
    found = {name: one.settled(key, request, run=asker.run, retry_final=retry_final) for name, one in targets.items()}
    best = GOOD if GOOD in found.values() else FINAL
    later = {name for name, one in targets.items() if found[name] is None and one.is_later(key, asker.order)}
    having = [] if asker.is_all else [name for name, kind in found.items() if kind == best]
    if not having and len(later) < len(targets):
        return None
    into = frozenset(
        name
        for name, one in targets.items()
        if name not in later and (found[name] != best or one.is_taken_back(key, asker.run))
    )
    return Copied(request, targets[(having or [*later])[0]].rows[key].outcome, into)


def failures(outcomes: Iterable[Outcome]) -> int:
    """How many of them are no good answer."""
    return sum(outcome.kind != GOOD for outcome in outcomes)


def systematic(outcomes: Mapping[Request, Outcome]) -> bool:
    """Whether so many requests of a run failed that none of them is final."""
    return len(outcomes) >= MANY and failures(outcomes.values()) * 2 > len(outcomes)
