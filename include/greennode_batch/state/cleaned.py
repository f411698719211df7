"""Cleaned: cleaned.json, the remote files that a run has deleted."""

from __future__ import annotations

import msgspec


class Cleaned(msgspec.Struct, frozen=True):
    """cleaned.json: the files of a shard that were deleted at GreenNode."""

    files: tuple[str, ...]
    cleaned_at: float
