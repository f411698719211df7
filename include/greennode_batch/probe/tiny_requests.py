"""The few requests that a probe sends, as small as possible. Pure functions."""

from __future__ import annotations

from typing import Any

import msgspec

from greennode_batch.api.profile import ApiProfile
from greennode_batch.probe.state import Role

# Some servers refuse a lower limit.
MAX_TOKENS = 16
SCHEMA_TOKENS = 48
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
IDS: dict[Role, tuple[str, str]] = {
    "main": ("probe-1", "probe-2"),
    "cancelled": ("probe-cancelled-1", "probe-cancelled-2"),
    "bad_line": ("probe-good", "probe-bad"),
}


def chat_body(model: str, token_parameter: str, **more: Any) -> dict[str, Any]:
    """A chat that a model answers in one word."""
    messages = [{"role": "user", "content": "Reply with the word ok."}]
    return {"model": model, "messages": messages, token_parameter: MAX_TOKENS, **more}


def schema_body(model: str, token_parameter: str) -> dict[str, Any]:
    """A chat that asks for an object by schema. It holds the word json, which some servers ask for."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": 'Reply with the JSON object {"ok": true}.'}],
        token_parameter: SCHEMA_TOKENS,
        "response_format": {"type": "json_schema", "json_schema": {"name": "probe", "schema": SCHEMA, "strict": True}},
    }


def bad_body(model: str, token_parameter: str) -> dict[str, Any]:
    """A chat that no server should accept: two parameters are far out of range."""
    return {**chat_body(model, token_parameter), token_parameter: -1, "temperature": 99}


def tiny_lines(role: Role, profile: ApiProfile, model: str) -> bytes:
    """Two lines for the batch of a role. In the batch with a bad line, no server should answer the second.

    All files differ, so that no file stands in for another.
    """
    good = chat_body(model, profile.token_parameter)
    bodies = (good, bad_body(model, profile.token_parameter) if role == "bad_line" else good)
    extra = {}
    if profile.line_format == "custom_id+method+url+body":
        extra = {"method": "POST", "url": profile.endpoint or "/v1/chat/completions"}
    lines = [
        msgspec.json.encode({"custom_id": name, **extra, "body": body})
        for name, body in zip(IDS[role], bodies, strict=True)
    ]
    return b"\n".join(lines) + b"\n"
