"""Enqueued limit: .line/<connection>/limit-<model>.json, how many prompt tokens a server takes in one batch.

It is learned from a refusal, and remembered for the connection: later shards are split before they are sent.
"""

from __future__ import annotations

import hashlib
import re

from upath import UPath

from greennode_batch.staging.folders import fresh_names, read_json, write_json
from greennode_batch.state.document import Document

# A limit may have been raised since, and a guess be wrong. A shard that is refused again teaches it again, at no cost.
_DAY = 86_400.0
_NAMED_DAYS, _GUESSED_DAYS = 30, 1
_FILE_NAME = re.compile(r"limit-[0-9a-f]+\.json")


class EnqueuedLimit(Document, frozen=True):
    """limit-<model>.json: the most prompt tokens that one batch of a model may have, by our estimate."""

    model: str
    tokens: int
    named: bool
    """Whether the server named this number; otherwise it is a guess that a refused shard was larger than."""
    words: str
    """The server's message."""
    noted_at: float
    """Epoch seconds."""

    @property
    def good_until(self) -> float:
        """Until when it is believed, in epoch seconds."""
        return self.noted_at + _DAY * (_NAMED_DAYS if self.named else _GUESSED_DAYS)


class EnqueuedLimits:
    """The limits of one connection. folder: of its submit queue."""

    def __init__(self, folder: UPath) -> None:
        self.folder = folder

    def by_model(self, *, now: float) -> dict[str, EnqueuedLimit]:
        """The limits that were named in the last 30 days, or guessed in the last one. Costs one list without any."""
        names = (name for name in fresh_names(self.folder) if _FILE_NAME.fullmatch(name))
        read = (read_json(self.folder / name, EnqueuedLimit) for name in names)
        return {one.model: one for one in read if one is not None and now < one.good_until}

    def named(self, *, now: float) -> dict[str, int]:
        """The limits in tokens, by model, that the server itself has named in the last 30 days."""
        return {model: limit.tokens for model, limit in self.by_model(now=now).items() if limit.named}

    def note(self, limit: EnqueuedLimit) -> None:
        """Remember a limit."""
        name = hashlib.blake2b(limit.model.encode(), digest_size=8).hexdigest()
        write_json(self.folder / f"limit-{name}.json", limit)
