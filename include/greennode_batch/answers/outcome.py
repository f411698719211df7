"""Outcome: what became of one request, from the result line that the server wrote for it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.reasoning import split_reasoning
from greennode_batch.api.finish_reason import AnswerEnd, answer_end
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.retryable import is_retryable
from greennode_batch.state.row_status import RowStatus

_REFUSED_FOR_GOOD = re.compile(
    r"invalid|unsupported|context_length|too_(?:long|large)|not_found|permission|policy|filter|credit|billing|quota"
)

CUT_IN_REASONING = "cut off during the reasoning"
"""Begins the error of an answer that is nothing but reasoning, cut off."""


class Outcome(NamedTuple):
    """The outcome of one request."""

    status: RowStatus
    """What became of the request."""
    error: str | None
    """Why there is no valid answer; None if there is one."""
    reasoning: str | None
    """What the model thought before it answered."""
    values: tuple[Any, ...] | None
    """The values of the answer's columns; None without a valid answer."""
    is_retryable: bool = False
    """Whether another attempt may improve it."""
    raw_answer: str | None = None
    """What the model wrote, if it is not a valid answer."""


def outcome_of(line: ResultLine, reader: AnswerReader) -> Outcome:
    """Determine the outcome of one request."""
    if line.error is not None:
        return _failure(line)
    end = answer_end(line.finish_reason)
    if line.refusal or end is AnswerEnd.FILTERED:
        words = line.refusal or "the content filter stopped the answer"
        return Outcome(RowStatus.REFUSED, words, line.reasoning, None)
    split = split_reasoning(line.content or "")
    reasoning = line.reasoning or split.reasoning
    if end is AnswerEnd.BROKEN:
        words = f"the server stopped before the answer was complete (finish_reason {line.finish_reason})"
        return Outcome(RowStatus.FAILED, words, reasoning, None, is_retryable=True)
    return _of_text(line, end, reader, reasoning, split.answer)


def _of_text(
    line: ResultLine, end: AnswerEnd, reader: AnswerReader, reasoning: str | None, answer: str | None
) -> Outcome:
    """The outcome of an answer by its text. answer: what is left without the reasoning."""
    written = line.content
    if line.tool_calls and (end is AnswerEnd.CALLS or not answer or answer.isspace()):
        written = answer = reader.called(line.tool_calls)
    if answer is None:
        return _only_thinking(line, end, reasoning)
    values = reader.read(answer)
    usable = None if isinstance(values, str) else values
    if end is AnswerEnd.CUT:
        return Outcome(RowStatus.TRUNCATED, f"cut off at {_limit(line)}", reasoning, usable)
    if isinstance(values, str):
        return Outcome(RowStatus.INVALID_OUTPUT, values, reasoning, None, is_retryable=True, raw_answer=written)
    return Outcome(RowStatus.SUCCEEDED, None, reasoning, values)


def _only_thinking(line: ResultLine, end: AnswerEnd, reasoning: str | None) -> Outcome:
    if end is AnswerEnd.CUT or line.finish_reason is None:
        words = f"{CUT_IN_REASONING}; raise max_tokens"
        return Outcome(RowStatus.TRUNCATED, words, reasoning, None)
    words = "the model stopped before it finished its reasoning"
    return Outcome(RowStatus.INVALID_OUTPUT, words, reasoning, None, is_retryable=True, raw_answer=line.content)


def _limit(line: ResultLine) -> str:
    is_context = "context" in (line.finish_reason or "").lower()
    return "the end of the model's context window" if is_context else "max_tokens"


def _failure(line: ResultLine) -> Outcome:
    code = (line.code or "").lower()
    parts = [str(line.status_code) if line.status_code else "", line.code or "", line.error or ""]
    words = " ".join(filter(None, parts)) or "the reply is empty"
    if "expired" in code:
        return Outcome(RowStatus.EXPIRED, words, line.reasoning, None, is_retryable=True)
    if "cancel" in code:
        return Outcome(RowStatus.CANCELLED, words, line.reasoning, None, is_retryable=True)
    return Outcome(RowStatus.FAILED, words, line.reasoning, None, is_retryable=_may_pass(line.status_code, code))


def _may_pass(status: int | None, code: str) -> bool:
    """Whether the same request may succeed later: not if it was rejected for its content, or for lack of credit."""
    if not status:
        return not _REFUSED_FOR_GOOD.search(code)
    return is_retryable(status)
