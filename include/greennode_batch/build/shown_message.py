"""A shown message: what a request says to a model, for a person to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_SHOWN_CHARACTERS = 200


def shown_message(message: Mapping[str, Any]) -> str:
    """A message as `[role]` and lines of text: texts are whole, the rest is JSON, cut where it is long."""
    return "\n".join([f"[{message['role']}]", *_lines(message)])


def _lines(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    for part in content if isinstance(content, list) else [content] if content is not None else []:
        if isinstance(part, str):
            yield part
        elif part.get("type") == "text":
            yield part.get("text", "")
        else:
            yield _json(part)
    more = {name: value for name, value in message.items() if name not in {"role", "content"}}
    if more:
        yield _json(more)


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
