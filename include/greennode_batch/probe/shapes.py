"""A JSON reply -> words about its shape. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from greennode_batch.api.wire import reply_object

_MAX_FIELDS = 20
_WRAPPERS = ("job", "data", "batch", "result", "file")
_LISTS = ("data", "items", "value", "listData", "list_data", "batches", "jobs", "files", "models", "records", "results")
_TIME_NAME = re.compile(r"(?:_at|_time|At|Time|deadline|^created)$")
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MILLISECONDS = 1e11


def fields(obj: object) -> str:
    """The names of an object's fields."""
    if not isinstance(obj, dict):
        return f"not an object but {type(obj).__name__}"
    names = list(obj)
    more = f", and {len(names) - _MAX_FIELDS} more" if len(names) > _MAX_FIELDS else ""
    return ", ".join(names[:_MAX_FIELDS]) + more


def wrapper(data: object) -> str:
    """How an object is wrapped: "bare", or "in `job`"."""
    inner = reply_object(data)
    if inner is None:
        return "without an id"
    path = []
    while isinstance(data, dict) and data is not inner:
        name = next((name for name in _WRAPPERS if isinstance(data.get(name), dict)), None)
        if name is None:
            break
        path.append(name)
        data = data[name]
    return f"in `{'.'.join(path)}`" if path else "bare"


def list_shape(data: object) -> str:
    """The path of a list's entries, and the fields beside them."""
    if isinstance(data, list):
        return "a bare array"
    if not isinstance(data, dict):
        return f"not a list but {type(data).__name__}"
    name = next((name for name in _LISTS if isinstance(data.get(name), list)), None)
    if name is None:
        holder = next((key for key in _WRAPPERS if isinstance(data.get(key), dict)), None)
        return f"in `{holder}`: {list_shape(data[holder])}" if holder else f"an object with {fields(data)}"
    beside = ", ".join(key for key in data if key != name)
    return f"under `{name}`" + (f", beside {beside}" if beside else "")


def present(obj: object, names: Iterable[str]) -> str | None:
    """The first of these fields that an object has, null or not."""
    return next((name for name in names if isinstance(obj, dict) and name in obj), None)


def counts(obj: dict[str, Any]) -> str:
    """How a batch counts its requests."""
    for name in ("request_counts", "requestCounts", "counts"):
        if name in obj:
            value = obj[name]
            return f"`{name}` with {fields(value)}" if isinstance(value, dict) else f"`{name}` is {value!r}"
    flat = [name for name in obj if re.search(r"requests|_count$|^total|progress", name)]
    return f"flat: {', '.join(flat)}" if flat else "none"


def times(obj: dict[str, Any]) -> str:
    """How a batch writes its times."""
    kinds: dict[str, list[str]] = {}
    for name, value in obj.items():
        if _TIME_NAME.search(name) and not isinstance(value, dict | list | bool):
            kinds.setdefault(_time_kind(value), []).append(name)
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items()) or "none"


def _time_kind(value: object) -> str:
    if value is None or value == "":
        return "empty"
    if isinstance(value, int | float):
        return "epoch milliseconds" if value > _MILLISECONDS else "epoch seconds"
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return "epoch milliseconds as text" if float(value) > _MILLISECONDS else "epoch seconds as text"
    has_offset = isinstance(value, str) and _OFFSET.search(value) is not None
    return "ISO 8601" if has_offset else "local times without an offset, or not a time"


def result_line(data: object) -> str:
    """Where a result line has its answer or error."""
    if not isinstance(data, dict):
        return f"not an object but {type(data).__name__}"
    response = data.get("response")
    if isinstance(response, dict):
        inside = "`response.body`" if "body" in response else "`response` is the body itself"
    else:
        inside = "`response` is null" if "response" in data else "no `response`"
    return f"{fields(data)}; {inside}"


def reasoning_style(content: str | None, message: dict[str, Any]) -> str:
    """Where a model's reasoning is."""
    named = [name for name in ("reasoning_content", "reasoning") if message.get(name)]
    if content and "<think" in content:
        named.insert(0, "<think> in the content")
    return ", ".join(named) or "none seen"
