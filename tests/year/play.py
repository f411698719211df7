"""Play: a run, as the model follows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.year.jobs import MAX_FAILED, Job, Options
from tests.year.model import FINAL, PASSING, UNSENT, Copied, Key, Order, Outcome, Request, Row, failures, systematic
from tests.year.server import Reply
from tests.year.world import BUILD, Run


@dataclass(repr=False)
class Play:
    """A run, as the model follows it.

    requested, unsent, copied: by key. targets, answer: by name, as its latest task knew them. replies: to all that it
    has sent. removed: how many rows each of its builds has removed. left_alone: how many rows need no request. step:
    how many steps it has done. is_removed: whether its staging is gone.
    """

    job: Job
    run: Run
    options: Options
    requested: dict[Key, Request] = field(default_factory=dict)
    unsent: set[Key] = field(default_factory=set)
    copied: dict[Key, Copied] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    answer: str = ""
    replies: dict[Request, Reply] = field(default_factory=dict)
    removed: list[tuple[Order, int]] = field(default_factory=list)
    left_alone: int = 0
    step: int = 0
    is_removed: bool = False

    @property
    def id(self) -> tuple[str, str]:
        """Its job and its run."""
        return self.job.name, self.run.run_id

    @property
    def is_sent(self) -> bool:
        """Whether its shards are at the server."""
        return self.step > BUILD + 1

    @property
    def keys(self) -> set[Key]:
        """Of all rows that it writes into some target."""
        return {*self.requested, *self.unsent, *self.copied}

    def outcome(self, request: Request) -> Outcome:
        """What became of a request after all attempts."""
        outcome = self.replies[request].read_as(self.answer)
        return outcome._replace(kind=FINAL) if outcome.status == "invalid_output" else outcome

    def written(self, target: str) -> Iterator[tuple[Key, Row]]:
        """The rows that its join writes into a target."""
        is_systematic = systematic(self._outcomes())

        def row(request: Request, outcome: Outcome) -> Row:
            kind = PASSING if is_systematic and outcome.kind == FINAL else outcome.kind
            return Row(request, outcome._replace(kind=kind), *self.id, self.run.order)

        for key, request in self.requested.items():
            yield key, row(request, self.outcome(request))
        for key in self.unsent:
            yield key, row((), UNSENT)
        for key, one in self.copied.items():
            if target in one.into:
                yield key, Row(one.request, one.outcome, *self.id, self.run.order)

    def is_failure(self) -> bool:
        """Whether too many of its own rows, or of many requests, have no answer."""
        rows = [*map(self.outcome, self.requested.values()), *(UNSENT for _ in self.unsent)]
        answers_for = len(rows) + len(self.copied) + self.left_alone
        return failures(rows) > answers_for * MAX_FAILED or systematic(self._outcomes())

    def _outcomes(self) -> dict[Request, Outcome]:
        return {request: self.outcome(request) for request in self.requested.values()}

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        printer.text(self.run.run_id)
