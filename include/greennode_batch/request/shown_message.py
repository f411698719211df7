"""Shown message: a message of a request as text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_SHOWN_CHARACTERS = 200


def shown_message(message: Mapping[str, Any]) -> str:
    """Show a message as `[role]` and lines of text: texts are complete, other parts are JSON with long strings cut."""
    return "\n".join([f"[{message.get('role')}]", *_lines(message)])


def message_texts(message: Mapping[str, Any]) -> list[str]:
    """The texts of a message: its content, or the texts of its parts."""
    return [text for part in _parts(message) if (text := _text_of(part)) is not None]


def _lines(message: Mapping[str, Any]) -> Iterator[str]:
    for part in _parts(message):
        text = _text_of(part)
        yield _json(part) if text is None else text
    more = {name: value for name, value in message.items() if name not in {"role", "content"}}
    if more:
        yield _json(more)


def _parts(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else [content] if content is not None else []


def _text_of(part: Any) -> str | None:
    """The text of a part; None for an image or any other kind of part."""
    if isinstance(part, str):
        return part
    text = part.get("text") if part.get("type") == "text" else None
    return text if isinstance(text, str) else None


def _json(value: Any) -> str:
    return msgspec.json.encode(_cut(value)).decode()


def _cut(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_cut(part) for part in value]
    if isinstance(value, str) and len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]}… ({len(value):,} characters)"
    return value
