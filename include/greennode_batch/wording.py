"""Plurals: how many there are of what, in words."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """`1 shard`, `1,200 shards`. several: where it is more than `one` with an s at its end."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
