"""The path of a value in a JSON reply: dotted paths, as a profile's fields take them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from greennode_batch.api.fields import at, pick

_MAX_DEPTH = 6
_MAX_ENTRIES = 200
_MAX_INDEXES = 2
_OUTPUT = re.compile(r"output|result|answer|success|\bout\b", re.IGNORECASE)
_ERROR = re.compile(r"err|fail|reject", re.IGNORECASE)
_FILE = re.compile(r"file|dataset|ur[il]|link|href|(?:id|key)$", re.IGNORECASE)
_WRAPPERS = ("data", "result", "payload", "response", "job", "batch", "file")
# A word that says that all is well has no digit.
_BARE_ID = re.compile(r"(?=.*\d)\S+")
_OF_A_CALL = re.compile(r"request|trace", re.IGNORECASE)
# The likeliest first.
_IDS = (
    re.compile(r"^id$|Id$|_id$|uuid$"),
    re.compile(r"(?:key|handle|ref|token)$", re.IGNORECASE),
    re.compile(r"(?:uri|url)$", re.IGNORECASE),
)


def places(data: object, is_it: Callable[[str, Any], bool], prefix: str = "", depth: int = 0) -> Iterator[str]:
    """The paths at which a value is wanted, by its path and itself; those further out first."""
    entries: list[tuple[str, Any]] = []
    if isinstance(data, dict):
        entries = [(str(name), value) for name, value in data.items() if name and "." not in str(name)]
    elif isinstance(data, list):
        entries = [(str(index), value) for index, value in enumerate(data[:_MAX_INDEXES])]
    entries = entries[:_MAX_ENTRIES]
    yield from (prefix + name for name, value in entries if is_it(prefix + name, value))
    if depth < _MAX_DEPTH:
        for name, value in entries:
            yield from places(value, is_it, f"{prefix}{name}.", depth + 1)


def url_place(data: object) -> str | None:
    """The path of a URL in a reply."""
    return next(places(data, lambda _, value: _is_url(value)), None)


def id_place(data: object) -> str | None:
    """The name of the field that has the id of what a reply is about, by how such fields are called."""
    for pattern in _IDS:

        def is_it(path: str, value: Any, pattern: re.Pattern[str] = pattern) -> bool:
            name = path.rpartition(".")[2]
            return _is_id(value) and pattern.search(name) is not None and _OF_A_CALL.search(name) is None

        found = next(places(data, is_it), None)
        if found is not None:
            return found.rpartition(".")[2]
    return _bare_id(data)


def _bare_id(data: object) -> str | None:
    """The name of the wrapper that holds the id alone: {"code": 0, "message": "success", "data": "b-17"}."""
    values = {name: data.get(name) for name in _WRAPPERS} if isinstance(data, dict) else {}
    return next((name for name, value in values.items() if _is_id(value) and _BARE_ID.fullmatch(str(value))), None)


def batch_places(raw: dict[str, Any], input_id: str) -> dict[str, str]:
    """The paths of a batch's files, by their names, and by the known id: for `batch_fields`."""

    def named(wanted: re.Pattern[str], path: str, value: object) -> bool:
        name, is_error = path.rpartition(".")[2], _ERROR.search(path) is not None
        return (
            _is_id(value)
            and (_FILE.search(name) is not None or _is_url(value))
            and _OF_A_CALL.search(name) is None
            and (is_error if wanted is _ERROR else not is_error and wanted.search(path) is not None)
        )

    wanted: dict[str, Callable[[str, Any], bool]] = {
        "input_file_id": lambda _, value: _is_id(value) and str(value) == input_id,
        "output_file_id": lambda name, value: named(_OUTPUT, name, value) and str(value) != input_id,
        "error_file_id": lambda name, value: named(_ERROR, name, value) and str(value) != input_id,
    }
    found = {field: next(places(raw, is_it), None) for field, is_it in wanted.items()}
    return {field: path for field, path in found.items() if path is not None}


def line_places(line: object, ids: Collection[str]) -> dict[str, str]:
    """The paths of the request's id and of the answer in a result line: for `result_fields`. Empty without both."""
    custom_id = next(places(line, lambda _, value: isinstance(value, str) and value in ids), None)
    body = next(places(line, lambda _, value: isinstance(value, dict) and "choices" in value), None)
    if custom_id is None or body is None:
        return {}
    found = {"custom_id": custom_id, "body": body}
    around, _, _ = body.rpartition(".")
    status = at(line, around) if around else line
    for name in ("status_code", "statusCode", "status"):
        if isinstance(status, dict) and isinstance(status.get(name), int):
            found["status_code"] = f"{around}.{name}" if around else name
            break
    wrapper, _, _ = custom_id.rpartition(".")
    return found | ({"error": f"{wrapper}.error"} if wrapper else {})


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value not in {"", 0}


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def is_whole_number(reply: dict[str, Any]) -> bool:
    """Whether a reply gives an id as a number."""
    found = pick(reply, "id", "file_id", "uuid")
    return isinstance(found, int) and not isinstance(found, bool)
