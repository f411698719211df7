"""Declared values: an answer's values of `Literal` and `Enum` in the spelling that the answer model declares."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from pydantic import ValidationError

_KEY = "[key]"


class DeclaredValues:
    """The texts that an answer model declares as values, by its JSON schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._by_fold: dict[str, set[str]] = {}
        for text in _declared(schema):
            self._by_fold.setdefault(_folded(text), set()).add(text)

    def spelled(self, text: str, error: ValidationError) -> str:
        """The JSON text with each value that the error names in its declared spelling; otherwise as it is.

        Upper and lower case, white space around a value and Unicode forms (NFC, NFD) make no difference. A value that
        matches two declared ones stays as it is.
        """
        spelled = text
        for problem in error.errors(include_url=False) if self._by_fold else ():
            path, value, expected = problem["loc"], problem["input"], problem.get("ctx", {}).get("expected", "")
            if problem["type"] == "union_tag_invalid" and isinstance(value, Mapping):
                key = problem["ctx"]["discriminator"].strip("'")
                path, value, expected = (*path, key), value.get(key), problem["ctx"]["expected_tags"]
            if isinstance(value, str):
                found = [one for one in self._by_fold.get(_folded(value), ()) if one != value and repr(one) in expected]
                if len(found) == 1:
                    spelled = _replaced(spelled, path, found[0])
        return spelled


def _declared(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        values = [*schema.get("enum", ()), schema.get("const")] if not isinstance(schema.get("enum"), Mapping) else []
        yield from (value for value in values if isinstance(value, str))
        for part in schema.values():
            yield from _declared(part)
    elif isinstance(schema, Sequence) and not isinstance(schema, str):
        for part in schema:
            yield from _declared(part)


def _folded(text: str) -> str:
    # Folding the case may leave a text that is not in NFC.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip()


def _replaced(text: str | msgspec.Raw, path: Sequence[int | str], value: str) -> str:
    """A JSON text with another value, or another key, at a path. All else in it stays, byte for byte."""
    if not path:
        return _encode(value)
    try:
        holder: Any = _decode(text)
    except msgspec.MsgspecError:
        return text if isinstance(text, str) else bytes(text).decode()
    step, rest = path[0], path[1:]
    if isinstance(holder, dict) and step in holder and rest == (_KEY,):
        holder = {value if key == step else key: held for key, held in holder.items()}
    elif step in holder if isinstance(holder, dict) else isinstance(step, int) and step < len(holder):
        holder[step] = msgspec.Raw(_replaced(holder[step], rest, value).encode())
    else:  # a path also names the member of a union
        return _replaced(text, rest, value) if rest else _encode(holder)
    return _encode(holder)


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_decode = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw]).decode
