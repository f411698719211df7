"""Build turns: if a run or one of its attempts is built several times, the build with the last turn counts.

A build names its files by its turn, so it never replaces the files of another build. A turn is never taken twice.
"""

from __future__ import annotations

import itertools

from upath import UPath

from greennode_batch.errors import GreenNodeError
from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import fresh_names, numbered
from greennode_batch.state.document import Document


class BuildTurn(Document, frozen=True):
    """building.<n>.json: the n-th build of a run or attempt has begun."""

    began_at: float
    """Epoch seconds."""


class SupersededError(GreenNodeError):
    """A later build of this run has begun. This one does not count, and changed nothing that the later one needs."""


def take_turn(folder: UPath, *, now: float) -> int:
    """Take the next turn in a run's or attempt's folder and return its number. Earlier builds no longer count."""
    last = max(numbered(fresh_names(folder), "building"), default=0)
    for turn in itertools.count(last + 1):
        if create_exclusive(folder / f"building.{turn}.json", BuildTurn(now)):
            return turn
    raise AssertionError("numbers do not end")


def check_turn(folder: UPath, turn: int) -> None:
    """Raise SupersededError if a later build has begun."""
    if max(numbered(fresh_names(folder), "building"), default=0) > turn:
        raise SupersededError(
            f"{folder}: another build of this run began after this one, so this one stopped without changing anything. "
            "The plan of the later build counts; if it left none, build the run again"
        )
