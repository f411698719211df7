"""Reasoning: split what a model thought from what it answered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from greennode_batch.answers.json_in_text import next_value

# How models mark their reasoning: the opening mark and the closing one, in lower case. Of gpt-oss a mark is a channel's
# whole header: <|start|>assistant<|channel|>analysis<|message|>.
_FAMILIES = {
    "<think>": "</think>",  # DeepSeek, Qwen, GLM, GreenMind and most others
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # EXAONE
    "<thoughts>": "</thoughts>",
    "<thought_process>": "</thought_process>",
    "<longcat_think>": "</longcat_think>",  # LongCat
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "<mm:think>": "</mm:think>",  # MiniMax
    "[think]": "[/think]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|channel>": "<channel|>",  # Gemma 4
    "<|channel|>analysis": "<|channel|>final",  # gpt-oss
    "<|channel|>commentary": "<|channel|>final",
    "<|start_thinking|>": "<|end_thinking|>",  # Command A
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker
    "<unused94>": "<unused95>",  # MedGemma
}
_OPENING = next(iter(_FAMILIES))
_CLOSING = frozenset(_FAMILIES.values())
# Each mark of the table has one of these in it, behind a small or a capital letter. Few texts do, and only those are
# searched for marks.
_HINTS = ("hink", "HINK", "hought", "HOUGHT", "easoning", "EASONING", "hannel", "HANNEL", "nused9", "NUSED9")
# Anything that may be a mark; its last group is looked up in the table.
_MARK = re.compile(
    r"(?:<\|end\|>\s*)?(?:<\|start\|>assistant\s*)?(<\|channel\|>\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"|(<\|channel>|<unused94>)(?:thought\b)?"
    r"|(<[^<>\s]{1,30}>|\[/?THINK\]|◁/?think▷)"
)
_FIRST = re.compile(r"[<\[◁]")
# What models write around the answer behind their reasoning: the opening mark, and all of it.
_WRAPPERS = {
    opening: re.compile(rf"{re.escape(opening)}(?:(.*){re.escape(closing)}|(.*))", re.IGNORECASE | re.DOTALL)
    for opening, closing in (
        ("<answer>", "</answer>"),  # GreenMind
        ("<|start_response|>", "<|end_response|>"),
        ("<|begin_of_solution|>", "<|end_of_solution|>"),
    )
}
_LONGEST_WRAPPER = max(map(len, _WRAPPERS))
_ENDS = ("<|return|>", "<|end|>", "<|call|>", "<turn|>")
# The messages of gpt-oss, of which the server has left out all that stands in <|…|>.
_BARE_FINAL = "assistantfinal"
_BARE = re.compile(rf"\s*(?:(?:assistant)?analysis(.*?))?{_BARE_FINAL}(.*)", re.DOTALL)
_QUOTES = frozenset("\"'`")
_AFTER_A_MENTION = frozenset(" .,;:!?)")


class ReasonedText(NamedTuple):
    """A model's text, split into reasoning and answer."""

    reasoning: str | None
    """What the model thought; None if the text has no reasoning."""
    answer: str | None
    """None if the whole text is reasoning, or ends within it."""


class _Mark(NamedTuple):
    start: int
    end: int
    word: str


def may_hold_reasoning(text: str) -> bool:
    """Whether a text has a character of a mark; False for most texts, at little cost."""
    return "<" in text or "THINK]" in text or "◁" in text or _BARE_FINAL in text


def split_reasoning(text: str) -> ReasonedText:
    """Split reasoning and `<answer>…</answer>`, as GreenMind and others write them, off a model's text.

    Reasoning stands between two marks of one family, perhaps several times. The first opening mark may be missing,
    because chat templates write it themselves. Within reasoning, marks may be nested or the opening one repeated. A
    closing mark further down ends what the model went on thinking. A mark in quotes does not count, nor does a later
    one that a sentence mentions, or one in a JSON value of the answer. The running time is linear in the length of the
    text.
    """
    if not may_hold_reasoning(text):
        return ReasonedText(None, text)
    if _BARE_FINAL in text and (bare := _BARE.fullmatch(text)):
        return ReasonedText((bare[1] or "").strip() or None, _without_end(bare[2]))
    if (split := _split_once(text)) is not None:
        return split
    marks = _marks(text)
    return _Splitter(text, marks).split() if marks else ReasonedText(None, _unwrapped(text))


def _split_once(text: str) -> ReasonedText | None:
    """The same for the commonest texts by far, in a third of the time: one closing mark, with nothing to weigh."""
    head = text.lstrip()
    start = len(_OPENING) if head.startswith(_OPENING) else 0
    first = head.find("<", start)
    end = head.find(_FAMILIES[_OPENING], first)
    after = end + len(_FAMILIES[_OPENING])
    if (
        end < 0
        or head[end - 1 : end] in _QUOTES
        or (first < end and (head.find(_OPENING, first, end) >= 0 if start else bool(_marks(head[:end]))))
        or (not start and (head.find("{", 0, end) >= 0 or head.find("[", 0, end) >= 0))
        or _marks(head[after:])
    ):
        return None
    return ReasonedText(_without_end(head[start:end]), _unwrapped(_without_end(head[after:])))


class _Splitter:
    """Splits one text at its marks."""

    def __init__(self, text: str, marks: Sequence[_Mark]) -> None:
        self._text = text
        self._marks = marks
        self._last = {mark.word: index for index, mark in enumerate(marks) if mark.word in _CLOSING}
        self._pieces: list[tuple[bool, str]] = []  # whether it is reasoning, and the piece
        self._at = 0  # where the piece begins that is not among them yet
        self._json_end = 0  # up to where the JSON values of the answer are known
        self._has_values = True  # False once a value is never closed: all that follows may be inside it

    def split(self) -> ReasonedText:
        """Go through the marks in order."""
        index = 0
        while index < len(self._marks):
            mark = self._marks[index]
            if mark.start < self._at or self._is_in_json(mark):
                index += 1
            elif mark.word in _CLOSING:
                if not self._pieces or not self._is_mentioned(mark):
                    self._add(mark.start, mark.end, is_reasoning=True)
                index += 1
            elif (closing := self._closing(index)) is not None:
                self._add(mark.start, mark.end, is_reasoning=False)
                self._add(self._marks[closing].start, self._marks[closing].end, is_reasoning=True)
                index = closing + 1
            elif self._is_mentioned(mark) and self._text[: mark.start].strip():
                index += 1
            else:
                self._add(mark.start, mark.end, is_reasoning=False)
                return ReasonedText(_joined([*(piece for _, piece in self._pieces), self._text[self._at :]]), None)
        if not self._pieces:
            return ReasonedText(None, _unwrapped(self._text))
        self._add(len(self._text), len(self._text), is_reasoning=False)
        answer = "".join(piece for is_reasoning, piece in self._pieces if not is_reasoning)
        reasoning = _joined([piece for is_reasoning, piece in self._pieces if is_reasoning])
        return ReasonedText(reasoning, _unwrapped(_without_end(answer)))

    def _add(self, end: int, after: int, *, is_reasoning: bool) -> None:
        """Add the piece up to `end`; the next one begins at `after`."""
        self._pieces.append((is_reasoning, self._text[self._at : end]))
        self._at = after

    def _closing(self, opening: int) -> int | None:
        """The index of the mark that ends the reasoning; None if it never ends."""
        wanted = _FAMILIES[self._marks[opening].word]
        last = self._last.get(wanted, -1)
        if last < opening:  # the model used another mark, if any
            after = range(opening + 1, max(self._last.values(), default=-1) + 1)
            return next((index for index in after if self._marks[index].word in _CLOSING), None)
        depth, before = 0, None
        for index in range(opening, last):
            mark = self._marks[index]
            if mark.word == wanted:
                depth -= 1
                if depth == 0:
                    return index
            # An opening mark right behind another repeats what the chat template wrote.
            elif _FAMILIES.get(mark.word) == wanted and (before is None or self._text[before : mark.start].strip()):
                depth += 1
            before = mark.end
        return last

    def _is_mentioned(self, mark: _Mark) -> bool:
        """Whether a mark stands in the middle of a sentence."""
        before, after = self._text[mark.start - 1 : mark.start], self._text[mark.end : mark.end + 1]
        return before in {" ", "("} and after in _AFTER_A_MENTION

    def _is_in_json(self, mark: _Mark) -> bool:
        """Whether a mark is part of a JSON value of the answer, or of one at its beginning that is cut off."""
        while self._json_end <= mark.start and self._has_values:
            start = max(self._json_end, self._at)
            value = next_value(self._text, start, mark.start)
            if value is None:
                self._json_end = mark.start
                return False
            begin, end = value
            if end is None:
                self._has_values = False
                end = len(self._text) if not self._text[self._at : begin].strip() else begin
            self._json_end = end
        return mark.start < self._json_end


def _marks(text: str) -> list[_Mark]:
    if not may_hold_reasoning(text) or not any(hint in text for hint in _HINTS):
        return []
    marks: list[_Mark] = []
    end = 0
    for first in _FIRST.finditer(text):
        found = _MARK.match(text, first.start()) if first.start() >= end else None
        if found is None:
            continue
        word = found[found.lastindex or 0].lower()
        if word in _FAMILIES or word in _CLOSING:
            before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
            if before != after or before not in _QUOTES:
                marks.append(_Mark(found.start(), found.end(), word))
            end = found.end()
    return marks


def _joined(pieces: Sequence[str]) -> str:
    return "\n\n".join(filter(None, (_without_end(piece) for piece in pieces)))


def _without_end(text: str) -> str:
    """Strip white space, and the tokens with which a model ends a message."""
    text = text.strip()
    while text.endswith(_ENDS):
        text = text[: text.rindex("<")].rstrip()
    return text


def _unwrapped(text: str) -> str:
    head = text.lstrip()
    if not head.startswith("<"):
        return text
    start = head[:_LONGEST_WRAPPER].lower()
    for opening, wrapper in _WRAPPERS.items():
        if start.startswith(opening) and (wrapped := wrapper.match(head)):
            return next(filter(None, wrapped.groups()), "").strip()
    return text
