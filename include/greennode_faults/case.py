"""Case: one thing that goes wrong, or several at once, and how a run may end with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SUCCEEDED = frozenset({"succeeded"})


@dataclass(frozen=True, kw_only=True)
class Case:
    """Faults for the emulator, by its own names.

    statuses: how rows that were asked may end; all_seen: each of them must be seen. error: the class of the error
    that must stop the run, where nobody but a person can go on. profile: extra fields of the connection. job: changes
    to the job. dialect: how the emulator speaks. withheld: the server keeps answers that it billed.
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
    """What a run came to. `problems` is empty where it kept its promises.

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
