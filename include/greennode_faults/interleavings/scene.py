"""Scene: what two or three workers do to staged files, how it is finished, and what is wrong then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from greennode_batch.source.rows import Rows
from greennode_faults.interleavings.ground import Ground
from greennode_faults.interleavings.small_api import Trouble

SourceRows = tuple[tuple[int, str], ...]
Work = Callable[[Ground, int], None]

MAX_ATTEMPTS = 3
"""Of each run."""
TWO: SourceRows = ((1, "one"), (2, "two"))


def _nothing(_ground: Ground) -> list[str]:
    """Nothing is wrong."""
    return []


@dataclass(frozen=True)
class Scene:
    """works: of each worker. prepare: makes the staging that they find. runs: the names of those that are staged.

    finish: finishes everything, as the last start of its tasks does. wrong: in words, what is wrong with the target
    then. wrong_at_once: the same if all workers have ended without an error, before anything starts again.
    """

    kind: str
    name: str
    works: Sequence[Work]
    prepare: Callable[[Ground], None]
    finish: Callable[[Ground], None]
    wrong: Callable[[Ground], list[str]]
    trouble: Trouble = field(default_factory=Trouble)
    runs: tuple[str, ...] = ("run",)
    wrong_at_once: Callable[[Ground], list[str]] = _nothing

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def source(rows: SourceRows) -> Rows:
    """Rows as a query gives them."""
    return Rows.from_tuples(("id", "text"), iter([list(rows)]))
