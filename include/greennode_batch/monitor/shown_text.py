"""Shown text: a value of a row as a person sees it, cut if it is long."""

from __future__ import annotations

from typing import Any

_CHARACTERS = 300


def shown_text(value: Any) -> str:
    """The value as text of at most 300 characters."""
    words = str(value)
    return words if len(words) <= _CHARACTERS else f"{words[:_CHARACTERS]}…"
