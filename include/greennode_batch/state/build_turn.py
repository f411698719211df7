"""Build turns: of all builds of one run, or of one of its attempts, the one that took the last turn stands.

What a build lands is named by its turn, so none replaces what another one has landed. A turn is never taken twice.
"""

from __future__ import annotations

import itertools

from upath import UPath

from greennode_batch.errors import GreenNodeError
from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import fresh_names, numbered
from greennode_batch.state.document import Document


class BuildTurn(Document, frozen=True):
    """building.<n>.json: the n-th build of a run or attempt has begun. began_at: epoch seconds."""

    began_at: float


class SupersededError(GreenNodeError):
    """Another build of this run began later. This one is void, and has changed nothing that the other relies on."""


def take_turn(folder: UPath, *, now: float) -> int:
    """Take the turn from any build of the folder that began before; its number."""
    last = max(numbered(fresh_names(folder), "building"), default=0)
    for turn in itertools.count(last + 1):
        if create_exclusive(folder / f"building.{turn}.json", BuildTurn(now)):
            return turn
    raise AssertionError("numbers do not end")


def check_turn(folder: UPath, turn: int) -> None:
    """Raise SupersededError if a later build has begun."""
    if max(numbered(fresh_names(folder), "building"), default=0) > turn:
        raise SupersededError(
            f"{folder}: another build of this run began after this one, so this one has stopped and changed nothing. "
            "The plan of the other one stands; if it left none, build the run again"
        )
