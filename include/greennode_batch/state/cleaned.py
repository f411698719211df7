"""Cleaned: cleaned.json, the remote files that a run has deleted."""

from __future__ import annotations

from greennode_batch.state.document import Document


class Cleaned(Document, frozen=True):
    """cleaned.json: the files of a shard that were deleted at GreenNode."""

    files: tuple[str, ...]
    cleaned_at: float
