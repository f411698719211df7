"""The few requests that a probe sends, as small as they can be. Pure functions."""

from __future__ import annotations

from typing import Any

import msgspec

from greennode_batch.api.profile import ApiProfile

# Some servers refuse less.
MAX_TOKENS = 16
SCHEMA_TOKENS = 48
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
GOOD_IDS = ("probe-1", "probe-2")
CANCELLED_IDS = ("probe-cancelled-1", "probe-cancelled-2")
BAD_IDS = ("probe-good", "probe-bad")


def chat_body(model: str, token_parameter: str, **more: Any) -> dict[str, Any]:
    """A chat that a model answers in a word."""
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
    """A chat that no server should accept: two parameters are far outside of what they may be."""
    return {**chat_body(model, token_parameter), token_parameter: -1, "temperature": 99}


def good_lines(profile: ApiProfile, model: str) -> bytes:
    """Two lines that are both fine."""
    body = chat_body(model, profile.token_parameter)
    return _lines(profile, [(custom_id, body) for custom_id in GOOD_IDS])


def lines_to_cancel(profile: ApiProfile, model: str) -> bytes:
    """Two more, which are fine as well. No two files are the same, so that none stands in for another."""
    body = chat_body(model, profile.token_parameter)
    return _lines(profile, [(custom_id, body) for custom_id in CANCELLED_IDS])


def lines_with_a_bad_one(profile: ApiProfile, model: str) -> bytes:
    """Two lines: the first is fine, the second no server should answer."""
    good, bad = BAD_IDS
    parameter = profile.token_parameter
    return _lines(profile, [(good, chat_body(model, parameter)), (bad, bad_body(model, parameter))])


def _lines(profile: ApiProfile, requests: list[tuple[str, dict[str, Any]]]) -> bytes:
    extra: dict[str, str] = {}
    if profile.line_format == "custom_id+method+url+body":
        extra = {"method": "POST", "url": profile.endpoint or "/v1/chat/completions"}
    lines = [msgspec.json.encode({"custom_id": name, **extra, "body": body}) for name, body in requests]
    return b"\n".join(lines) + b"\n"
