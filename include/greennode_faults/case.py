"""Case: one fault, or several at once, and how a run may end with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SUCCEEDED = frozenset({"succeeded"})


@dataclass(frozen=True, kw_only=True)
class Case:
    """Faults for the emulator, by its names.

    statuses: how rows with a request may end; all_seen: each of these must occur. error: the class of the error that
    must stop the run, if only a person can resolve it. profile: extra fields of the connection. job: changes to the
    job. dialect: the emulator's dialect. withheld: the server keeps answers that it billed.
    """

    group: str
    name: str
    faults: Sequence[Mapping[str, Any]] = ()
    statuses: frozenset[str] = SUCCEEDED
    error: str | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    dialect: str = "openai"
    withheld: bool = False
    all_seen: bool = True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run. `problems` is empty if it kept its promises.

    needed: answers that had to be paid for: one a request, and one more for each that the server lost after it was
    billed. billed: what the emulator billed.
    """

    case: Case
    rows_in: int
    rows_out: int
    needed: int
    billed: int
    statuses: Mapping[str, int]
    starts: int
    seconds: float
    problems: tuple[str, ...]

    @property
    def result(self) -> str:
        """`ok`, or what is wrong."""
        return "; ".join(self.problems) or "ok"
