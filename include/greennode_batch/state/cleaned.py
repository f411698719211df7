"""Cleaned: cleaned.json, the remote files of a shard that were deleted."""

from __future__ import annotations

from greennode_batch.state.document import Document


class Cleaned(Document, frozen=True):
    """cleaned.json: the files of a shard that were deleted at GreenNode."""

    files: tuple[str, ...]
    """File ids."""
    cleaned_at: float
    """Epoch seconds."""
