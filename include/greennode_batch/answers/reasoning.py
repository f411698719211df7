"""Reasoning: split what a model thought from what it answered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_TAG = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*)</answer>|<answer>(.*)", re.IGNORECASE | re.DOTALL)
_QUOTES = frozenset("\"'`")


class ReasonedText(NamedTuple):
    """A model's text, split into reasoning and answer."""

    reasoning: str | None
    """What the model thought; None if the text has no reasoning."""
    answer: str | None
    """None if the whole text is reasoning."""


def split_reasoning(text: str) -> ReasonedText:
    """Split reasoning and `<answer>…</answer>`, as GreenMind and others write them, off a model's text.

    Reasoning stands between `<think>` and `</think>` (or `thinking`, `thought`, `reasoning`), perhaps several times.
    The first opening tag may be missing, because chat templates write it themselves. A tag in quotes does not count:
    the text only mentions it. A text that begins as JSON is an answer, whatever it contains.
    """
    if "<" not in text or text.lstrip().startswith(("{", "[{")):
        return ReasonedText(None, text)
    reasoned: list[str] = []
    said: list[str] = []
    at = 0
    is_thinking = False
    for tag in _tags(text):
        is_closing = bool(tag[1])
        if is_closing and (is_thinking or not (reasoned or said)):
            reasoned.append(text[at : tag.start()].strip())
        elif not is_closing and not is_thinking:
            said.append(text[at : tag.start()])
        else:
            continue
        at, is_thinking = tag.end(), not is_closing
    if is_thinking and not "".join(said).strip():
        return ReasonedText(_joined([*reasoned, text[at:].strip()]), None)
    if is_thinking:
        # The tag is never closed, and an answer comes before it: most likely the answer only mentions the tag.
        at = text.rindex("<", 0, at)
    if not reasoned:
        return ReasonedText(None, _unwrapped(text))
    return ReasonedText(_joined(reasoned), _unwrapped("".join([*said, text[at:]]).strip()))


def _tags(text: str) -> Iterator[re.Match[str]]:
    for tag in _TAG.finditer(text):
        before, after = text[tag.start() - 1 : tag.start()], text[tag.end() : tag.end() + 1]
        if before != after or before not in _QUOTES:
            yield tag


def _joined(reasoned: Sequence[str]) -> str:
    return "\n\n".join(filter(None, reasoned))


def _unwrapped(text: str) -> str:
    wrapped = _ANSWER.match(text.lstrip())
    return (wrapped[1] if wrapped[1] is not None else wrapped[2]).strip() if wrapped else text
