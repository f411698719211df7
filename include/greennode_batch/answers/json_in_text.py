"""JSON in text: the JSON values inside a text that a model wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

# A text that begins like this is meant as JSON, even if it is invalid. A brace or bracket before anything else is
# prose.
_BEGINNING = re.compile(r"""\{\s*(?:["'}]|\w+\s*:)|\[\s*(?:["'{\[\]]|-?\d|true|false|null|NaN|-?Infinity)""")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\]]', re.DOTALL)
_FENCED = re.compile(r"(```|~~~)[^\n`~]*\n(.*?)\1", re.DOTALL)
# These look like white space, or like nothing, but a JSON parser rejects them.
_ODD_SPACES = "\ufeff\xa0\u200b\u2028\u2029\u3000"
_BLANK = f" \t\r\n{_ODD_SPACES}"
_TO_SPACES = dict.fromkeys(map(ord, _ODD_SPACES), " ")
_STRING_OR_SPACE = re.compile(rf'"(?:[^"\\]++|\\.)*+"|[{_ODD_SPACES}]', re.DOTALL)
_ONLY_KEY = re.compile(r'\{\s*"((?:[^"\\]++|\\.)*+)"\s*:', re.DOTALL)
# A call of a tool, written as text by a model whose server knows no tools: the name, then all that it is called with.
_CALL = re.compile(
    r'\{\s*"(?:name|function|tool)"\s*:\s*"[^"\\]*+"\s*,\s*"(arguments|parameters|input)"\s*:', re.DOTALL
)
_MAX_WRAPPERS = 4
_CONTROL = re.compile(r"[\x00-\x1f]")


def json_in_text(text: str) -> Iterator[str]:
    """Yield the parts of a text that may be JSON, likeliest first, for a text that is not a valid answer as a whole.

    Later values come before earlier ones: a model that thinks aloud ends with its answer, and one that corrects itself
    does so further down. So if several parts are valid, the last one counts. Only whole values are yielded, never a
    value nested in another, which would answer something else; see `unwrapped`. The running time is linear in the
    length of the text.
    """
    text = text.strip(_BLANK)
    yield from _unquoted(text)
    for value in reversed(list(_values(text))):
        yield value
        mended = _STRING_OR_SPACE.sub(_mended, value)
        if mended != value:
            yield mended
    for _, fenced in reversed(_FENCED.findall(text)):
        yield fenced
        yield from _unquoted(fenced.strip(_BLANK))


def unwrapped(value: str, names: Collection[str]) -> Iterator[str]:
    """Yield what a JSON value holds if it is the only thing in it: `{"answer": …}`, a list of one, JSON as a string.

    So are the arguments of a call that a model wrote as text, `{"name": "answer", "arguments": …}`.
    names: keys that are no wrapper. Goes through several wrappers. An object or a list with more in it yields something
    that is no JSON.
    """
    for _ in range(_MAX_WRAPPERS):
        value = value.strip(_BLANK)
        if value.startswith("[") and value.endswith("]"):
            value = value[1:-1]
        elif value.endswith("}") and (call := _CALL.match(value)) and call[1] not in names:
            value = value[call.end() : -1]
        elif value.endswith("}") and (key := _ONLY_KEY.match(value)) and key[1] not in names:
            value = value[key.end() : -1]
        elif value.startswith('"') and value.endswith('"'):
            try:
                value = json.loads(value, strict=False)
            except ValueError:  # more than one string
                return
        else:
            return
        yield value


def _unquoted(text: str) -> Iterator[str]:
    """If the text is a JSON string, yield what it contains: perhaps JSON itself, or a text with JSON in it."""
    if not (text.startswith('"') and text.endswith('"')):
        return
    try:
        said = json.loads(text, strict=False)
    except ValueError:  # more than one string
        return
    yield from (said, *reversed(list(_values(said))))


def next_value(text: str, start: int, stop: int) -> tuple[int, int | None] | None:
    """Find the first object or list that begins between two indexes, and its end, which may be after `stop`.

    The end is None if it is never closed: everything after it may then be inside it.
    """
    if text.find("{", start, stop) < 0 and text.find("[", start, stop) < 0:
        return None
    beginning = _BEGINNING.search(text, start, stop)
    return (beginning.start(), _end(text, beginning.start())) if beginning else None


def _values(text: str) -> Iterator[str]:
    """Find the outermost objects and lists in a text, in order."""
    # `translate` is slow, and nearly no text needs it.
    plain = text.translate(_TO_SPACES) if any(space in text for space in _ODD_SPACES) else text
    end: int | None = 0
    while end is not None and (value := next_value(plain, end, len(plain))):
        start, end = value
        if end is not None:
            yield text[start:end]


def _end(text: str, start: int) -> int | None:
    """Find where the bracket that opens at `start` is closed; None if it never is."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text, start):
        depth += 1 if found[0] in "{[" else -1 if found[0] in "]}" else 0
        if depth == 0:
            return found.end()
    return None


def _mended(part: re.Match[str]) -> str:
    """Escape control characters inside a JSON string; outside strings, replace an odd space with a plain one."""
    if not part[0].startswith('"'):
        return " "
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", part[0])
