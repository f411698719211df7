"""Canaries: canary.json, the first requests of a run, which are tried live before the table is sent."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.document import Document, or_before


class Canary(msgspec.Struct, frozen=True):
    """One request that was tried live, and what became of it. It costs the full price of one row."""

    custom_id: str
    model: str
    status: str
    """The outcome; "unknown" while there is none, or if it could not be determined."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_prompt_tokens: int = 0
    """The estimate of its prompt tokens before it was sent."""
    is_counted: bool = False
    """Whether the job's tokenizer made that estimate; otherwise it goes by the length of the texts."""
    seconds: float = 0.0
    """How long its answer took; 0 if that is not known."""


class Canaries(Document, frozen=True):
    """canary.json: the first requests of a run, which were tried live."""

    canaries: tuple[Canary, ...]


def read_canaries(run: RunFolder) -> tuple[Canary, ...]:
    """Read the canaries of a run; empty if it has none."""
    said = read_json(run.canary, or_before(Canaries, tuple[Canary, ...]))
    return said.canaries if isinstance(said, Canaries) else said or ()


def write_canaries(run: RunFolder, canaries: Iterable[Canary]) -> None:
    """Write the canaries of a run; this replaces the whole document."""
    write_json(run.canary, Canaries(tuple(canaries)))
