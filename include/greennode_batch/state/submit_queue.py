"""Submit queue: the documents of the shards that wait to be sent through a connection."""

from __future__ import annotations

from greennode_batch.state.document import Document


class Tries(Document, frozen=True):
    """waits-<came at>-<tokens>-<shard>.json: a waiting shard, and how many times a worker has tried to send it."""

    folder: str
    """The shard's folder in staging."""
    tries: int


class AdmissionOver(Document, frozen=True):
    """out-<n>.json: the n-th admission has ended."""


class Admission(Document, frozen=True):
    """in-<n>.json: a shard that may be sent, or has been."""

    number: int
    shard: str
    """The shard's name in the queue."""
    folder: str
    """The shard's folder in staging."""
    tokens: int
    came_ms: int
    """When the shard joined the queue, in epoch milliseconds."""
    admitted_at: float
    """Epoch seconds."""
