"""The same JSON with other names: camel case, other fields, text that only its writer can read."""

import base64
import re
from collections.abc import Mapping
from typing import Any

import msgspec

Reply = dict[str, Any]

_encoder = msgspec.json.Encoder()
_ABSENT = object()


def camel(name: str) -> str:
    """`status_code` is `statusCode`."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def camel_fields(reply: Reply, *, depth: int = 1) -> Reply:
    """The same fields in camel case, and those of nested objects, `depth` levels in all."""
    return {
        camel(name): camel_fields(value, depth=depth - 1) if depth > 1 and isinstance(value, dict) else value
        for name, value in reply.items()
    }


def moved(reply: Reply, moves: Mapping[str, str]) -> Reply:
    """The same values at other dotted paths: {"custom_id": "meta.id"}. A path that does not exist is skipped."""
    changed = _copied(reply)
    taken = {target: _take(changed, source.split(".")) for source, target in moves.items()}
    for target, value in taken.items():
        if value is not _ABSENT:
            put(changed, target, value)
    return changed


def put(reply: Reply, path: str, value: Any) -> None:
    """Set the value at a dotted path, and create the objects on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        inner = reply.get(parent)
        if not isinstance(inner, dict):
            inner = reply[parent] = {}
        reply = inner
    reply[name] = value


def sealed(reply: Reply) -> Reply:
    """What remains if it cannot be read without a key."""
    return {"payload": base64.b64encode(_encoder.encode(reply)[::-1]).decode()}


def _copied(reply: Reply) -> Reply:
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in reply.items()}


def _take(reply: Reply, path: list[str]) -> Any:
    """Remove and return the value at the path. An object that this leaves empty is removed as well."""
    name, *rest = path
    if not rest:
        return reply.pop(name, _ABSENT)
    inner = reply.get(name)
    if not isinstance(inner, dict):
        return _ABSENT
    value = _take(inner, rest)
    if not inner:
        del reply[name]
    return value
