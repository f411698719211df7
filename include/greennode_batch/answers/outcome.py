"""Verdicts: what became of one request, by the line that the server wrote for it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.reasoning import split_reasoning
from greennode_batch.answers.tool_calls import CALLING_ENDS
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.retryable import is_retryable
from greennode_batch.state.row_status import RowStatus

_REFUSED_FOR_GOOD = re.compile(
    r"invalid|unsupported|context_length|too_(?:long|large)|not_found|permission|policy|filter|credit|billing|quota"
)


class Outcome(NamedTuple):
    """What one line amounts to. `values` are the answer's columns, where there is an answer.

    `is_retryable`: whether another attempt may end better. `raw_answer`: what the model wrote, where it is no answer.
    """

    status: RowStatus
    error: str | None
    reasoning: str | None
    values: tuple[Any, ...] | None
    is_retryable: bool = False
    raw_answer: str | None = None


def outcome_of(line: ResultLine, reader: AnswerReader) -> Outcome:
    """What became of one request."""
    if line.error is not None:
        return _failure(line)
    if line.refusal or line.finish_reason == "content_filter":
        words = line.refusal or "the content filter stopped the answer"
        return Outcome(RowStatus.REFUSED, words, line.reasoning, None)
    split = split_reasoning(line.content or "")
    reasoning = line.reasoning or split.reasoning
    written, answer = line.content, split.answer
    if line.tool_calls and (line.finish_reason in CALLING_ENDS or not answer or answer.isspace()):
        written = answer = reader.called(line.tool_calls)
    if answer is None:
        return _only_thinking(line, reasoning)
    values = reader.read(answer)
    usable = None if isinstance(values, str) else values
    if line.finish_reason == "length":
        return Outcome(RowStatus.TRUNCATED, "cut off at max_tokens", reasoning, usable)
    if isinstance(values, str):
        return Outcome(RowStatus.INVALID_OUTPUT, values, reasoning, None, is_retryable=True, raw_answer=written)
    return Outcome(RowStatus.SUCCEEDED, None, reasoning, values)


def _only_thinking(line: ResultLine, reasoning: str | None) -> Outcome:
    if line.finish_reason == "stop":
        words = "the model ended in the middle of its thinking"
        return Outcome(RowStatus.INVALID_OUTPUT, words, reasoning, None, is_retryable=True, raw_answer=line.content)
    return Outcome(RowStatus.TRUNCATED, "cut off while the model was thinking; raise max_tokens", reasoning, None)


def _failure(line: ResultLine) -> Outcome:
    code = (line.code or "").lower()
    parts = [str(line.status_code) if line.status_code else "", line.code or "", line.error or ""]
    words = " ".join(filter(None, parts)) or "an empty reply"
    if "expired" in code:
        return Outcome(RowStatus.EXPIRED, words, line.reasoning, None, is_retryable=True)
    if "cancel" in code:
        return Outcome(RowStatus.CANCELLED, words, line.reasoning, None, is_retryable=True)
    return Outcome(RowStatus.FAILED, words, line.reasoning, None, is_retryable=_may_pass(line.status_code, code))


def _may_pass(status: int | None, code: str) -> bool:
    """Whether the same request may fare better another time: not if it was refused for what it is, or for credit."""
    if not status:
        return not _REFUSED_FOR_GOOD.search(code)
    return is_retryable(status)
