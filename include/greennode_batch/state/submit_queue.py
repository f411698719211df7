"""Submit queue: the small documents of the shards that wait for their turn before a connection."""

from __future__ import annotations

from greennode_batch.state.document import Document


class Tries(Document, frozen=True):
    """waits-<came at>-<tokens>-<shard>.json: a shard that waits, and how often it was tried to send it."""

    folder: str
    tries: int


class AdmissionOver(Document, frozen=True):
    """out-<n>.json: the n-th admission is over."""


class Admission(Document, frozen=True):
    """in-<n>.json: a shard that may be sent, or is. shard: its name in the line; folder: where it lies in staging."""

    number: int
    shard: str
    folder: str
    tokens: int
    came_ms: int
    admitted_at: float
