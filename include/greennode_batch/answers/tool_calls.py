"""Tool calls: the calls that a model requests, as an answer."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from greennode_batch.api.results.result_line import ToolCall


def calls_as_json(calls: Sequence[ToolCall]) -> str:
    """The calls as a JSON list of `{"name": …, "arguments": {…}}`. Arguments that are not JSON appear as text."""
    listed = [{"name": call.name, "arguments": _arguments(call.arguments)} for call in calls]
    return msgspec.json.encode(listed).decode()


def _arguments(words: str) -> msgspec.Raw | str:
    try:
        msgspec.json.decode(words)
    except (msgspec.DecodeError, RecursionError):
        return words
    return msgspec.Raw(words.encode())
