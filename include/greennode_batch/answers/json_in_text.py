"""JSON in a text: the values that stand in what a model wrote around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

# What begins like this is meant as JSON, even if it is none. A brace or bracket before anything else is prose.
_BEGINNING = re.compile(r"""\{\s*(?:["'}]|\w+\s*:)|\[\s*(?:["'{\[\]]|-?\d|true|false|null|NaN|-?Infinity)""")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\]]', re.DOTALL)
_FENCED = re.compile(r"(```|~~~)[^\n`~]*\n(.*?)\1", re.DOTALL)
# White space, or nothing, to the eye, and an error to a reader of JSON.
_ODD_SPACES = "\ufeff\xa0\u200b\u2028\u2029\u3000"
_BLANK = f" \t\r\n{_ODD_SPACES}"
_TO_SPACES = dict.fromkeys(map(ord, _ODD_SPACES), " ")
_STRING_OR_SPACE = re.compile(rf'"(?:[^"\\]++|\\.)*+"|[{_ODD_SPACES}]', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")


def json_in_text(text: str) -> Iterator[str]:
    """Texts that are JSON, or may be, where the whole is none or does not fit; the likeliest first.

    The last value comes before those above it: a model that thinks aloud ends with its answer, and one that corrects
    itself does so below. So of several that fit the last is taken. A value is a whole one, never a part of another,
    which would be an answer to something else. A list of one is followed by that one. Takes time that grows with the
    text, no faster.
    """
    text = text.strip(_BLANK)
    yield from _unquoted(text)
    for value in reversed(list(_values(text))):
        yield value
        mended = _STRING_OR_SPACE.sub(_mended, value)
        if mended != value:
            yield mended
        if value.startswith("["):
            yield mended[1:-1]
    for _, fenced in reversed(_FENCED.findall(text)):
        yield fenced
        yield from _unquoted(fenced.strip(_BLANK))


def _unquoted(text: str) -> Iterator[str]:
    """What a JSON string says, which may be JSON itself, or hold some."""
    if not (text.startswith('"') and text.endswith('"')):
        return
    try:
        said = json.loads(text, strict=False)
    except ValueError:  # more strings than one
        return
    yield from (said, *reversed(list(_values(said))))


def _values(text: str) -> Iterator[str]:
    """What seem to be objects and lists in a text, those in no other, in their order."""
    plain = text if text.isascii() else text.translate(_TO_SPACES)
    end: int | None = 0
    while end is not None and (beginning := _BEGINNING.search(plain, end)):
        end = _end(plain, beginning.start())
        if end is not None:
            yield text[beginning.start() : end]


def _end(text: str, start: int) -> int | None:
    """Where the bracket is closed that opens there; None if it is not: all that follows may be within it."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text, start):
        depth += 1 if found[0] in "{[" else -1 if found[0] in "]}" else 0
        if depth == 0:
            return found.end()
    return None


def _mended(part: re.Match[str]) -> str:
    """A JSON string with its line ends escaped; a space in place of an odd one between strings."""
    if not part[0].startswith('"'):
        return " "
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", part[0])
