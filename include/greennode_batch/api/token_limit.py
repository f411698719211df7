"""Token limit: whether a refusal is for a limit on enqueued tokens, and which limit it names.

Such a limit is on the prompt tokens of all batches that have not ended. One batch alone may be larger than that; then
waiting does not help.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODES = re.compile(r"(?:enqueued|queued)_?token|token_limit_(?:exceeded|reached)")
_WORDS = re.compile(
    r"(?:enqueued?|queued?)[\s_-]+(?:(?:prompt|input)[\s_-]+)?tokens?|"
    r"tokens? (?:\w+ ){0,3}(?:enqueued|queued|in (?:the )?queue)|"
    r"token limit reached",
    re.IGNORECASE,
)

_GROUP_DIGITS = 3
_DIGITS = r"(\d{1,3}(?:[,._'\u00a0\u202f ]\d{3})+|\d+(?:\.\d+)?)"
# "gpt-4.1" is no number.
_NUMBER = rf"{_DIGITS}(?:\s?(k|m|bn|b|thousand|million|billion)\b)?(?![\w-]|[.,:]\d)"
_LIMIT = (
    r"(?:limit|max(?:imum)?|quota|max_\w*tokens|at most|up to|(?:more|larger|greater) than|"
    r"exceed(?:s|ed|ing)?|allow(?:s|ed))"
)
# Between the word and the number: the end of a sentence, or another number than the limit.
_ELSE = r"\.\s|usage|\bused?\b|request|current"
_NAMED = tuple(
    re.compile(words, re.IGNORECASE)
    for words in (
        rf"\b{_LIMIT}[\"')]*\s*(?:(?:is|of|to|at|the)\s+|[:=(]\s*)*[\"']?{_NUMBER}",
        rf"\b{_LIMIT}\b(?:(?!{_ELSE})[^;:]){{0,120}}?(?:\b(?:is|of)\s+|[:=(]\s*){_NUMBER}",
        rf"{_NUMBER}[\s-](?:(?:enqueued|queued|prompt|input)[\s-])*tokens?[\s-](?:\w+[\s-]){{0,2}}(?:limit|maximum|quota)",
    )
)
_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "billion": 1e9}


def is_enqueued_limit(codes: Iterable[str], words: str) -> bool:
    """Whether a refusal with these codes and words is for a limit on enqueued tokens."""
    return any(_CODES.search(code.lower()) for code in codes) or _WORDS.search(words) is not None


def limit_in(words: str) -> int | None:
    """The limit that such a refusal names, in tokens; None if it names none."""
    for pattern in _NAMED:
        if found := pattern.search(words):
            number = round(_number(found[1], found[2] or ""))
            if number:
                return number
    return None


def _number(digits: str, scale: str) -> float:
    """The number, whichever mark groups its digits."""
    whole, dot, rest = digits.partition(".")
    is_fraction = bool(dot) and rest.isdecimal() and whole.isdecimal() and (scale or len(rest) != _GROUP_DIGITS)
    return float(digits if is_fraction else re.sub(r"\D", "", digits)) * _SCALES.get(scale.lower(), 1.0)
