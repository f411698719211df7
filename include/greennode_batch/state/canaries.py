"""canary.json: the first requests of a run, which are asked live before its table is sent."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.document import Document, or_before


class Canary(msgspec.Struct, frozen=True):
    """One request that was asked live, and what became of it. It costs the full price of one row.

    `status` is "unknown" while, or if, it is not known. estimated_prompt_tokens: what its prompt was taken for before,
    by the job's tokenizer if `is_counted`.
    """

    custom_id: str
    model: str
    status: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_prompt_tokens: int = 0
    is_counted: bool = False


class Canaries(Document, frozen=True):
    """canary.json: the first requests of a run."""

    canaries: tuple[Canary, ...]


def read_canaries(run: RunFolder) -> tuple[Canary, ...]:
    """Those that were asked for this run."""
    said = read_json(run.canary, or_before(Canaries, tuple[Canary, ...]))
    return said.canaries if isinstance(said, Canaries) else said or ()


def write_canaries(run: RunFolder, canaries: Iterable[Canary]) -> None:
    """Write down what was asked, whole."""
    write_json(run.canary, Canaries(tuple(canaries)))
