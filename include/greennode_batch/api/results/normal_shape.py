"""Rewrites a result line whose parts are where only a profile finds them to OpenAI's shape."""

from collections.abc import Mapping
from typing import Any

import msgspec

from greennode_batch.api.error_body import decode
from greennode_batch.api.fields import at, count

_OK = 200
_USAGE = ("prompt_tokens", "completion_tokens")


def in_normal_shape(line: bytes, paths: Mapping[str, str]) -> bytes:
    """The line with every part that a profile's `result_fields` finds moved to OpenAI's place for it.

    A part without a path stays where it is. A line that is not a JSON object, or has no custom_id at its path, is
    returned unchanged, for the lenient reader. Never raises.
    """
    data = decode(line)
    if not isinstance(data, dict):
        return line
    found = {field: value for field, path in paths.items() if (value := at(data, path)) is not None}
    if "custom_id" in paths and "custom_id" not in found:
        return line
    shaped = {**data, **{name: found[name] for name in ("custom_id", "error") if name in found}}
    body = found.get("body", _answer(found))
    if body is not None:
        shaped["response"] = {
            "status_code": count(found.get("status_code", _OK)),
            "request_id": found.get("request_id"),
            "body": body,
        }
    elif "status_code" in found:
        shaped["status_code"] = found["status_code"]
    return msgspec.json.encode(shaped)


def _answer(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """A chat completion made of the parts of an answer; None if there is no text."""
    if "content" not in found:
        return None
    message = {"content": found["content"], "reasoning_content": found.get("reasoning")}
    return {
        "model": found.get("model"),
        "choices": [{"message": message, "finish_reason": found.get("finish_reason")}],
        "usage": {name: found[name] for name in _USAGE if name in found},
    }
