"""Result files: bytes -> lines -> ResultLine or Anomaly. Nothing here raises, whatever the bytes."""

import itertools
import os
from collections.abc import Iterator
from typing import Annotated, BinaryIO

import msgspec

from greennode_batch.api.bounds import MAX_LINE_BYTES, MAX_TOKENS
from greennode_batch.api.results.result_line import Anomaly, CutLine, ResultLine, ToolCall
from greennode_batch.api.results.tolerant_lines import among, read_odd_line

__all__ = [
    "Anomaly",
    "PlainAnswer",
    "ResultLine",
    "ToolCall",
    "ends_with_newline",
    "iter_lines",
    "line_batches",
    "parse_line",
    "plain_answer",
]

_CHUNK_BYTES = 1 << 18


def iter_lines(file: BinaryIO, *, max_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    r"""Yield the lines of a file, split on b"\n" only, without b"\r", blank ones left out.

    Raw U+2028, U+2029 and U+0085 inside a string are data. A line of more than `max_bytes` is cut to its beginning,
    as a CutLine. Holds one chunk and the current line.
    """
    return itertools.chain.from_iterable(line_batches(file, max_bytes=max_bytes))


def line_batches(file: BinaryIO, *, max_bytes: int = MAX_LINE_BYTES) -> Iterator[list[bytes]]:
    """The same, a few hundred lines at a time."""
    pending: list[bytes] = []
    pending_bytes = 0
    while chunk := file.read(_CHUNK_BYTES):
        lines = chunk.split(b"\n")
        pending_bytes += len(lines[0])
        if pending_bytes <= max_bytes:
            pending.append(lines[0])
        if len(lines) > 1:
            lines[0] = _joined(pending, is_cut=pending_bytes > max_bytes)
            pending = [lines.pop()]
            pending_bytes = len(pending[0])
            yield _cleaned(lines, with_returns=b"\r" in chunk or b"\r" in lines[0])
    yield _cleaned([_joined(pending, is_cut=pending_bytes > max_bytes)], with_returns=True)


def _joined(parts: list[bytes], *, is_cut: bool) -> bytes:
    return CutLine(parts[0]) if is_cut else b"".join(parts)


def _cleaned(lines: list[bytes], *, with_returns: bool) -> list[bytes]:
    if with_returns:
        lines = [line if isinstance(line, CutLine) else line.rstrip(b"\r") for line in lines]
    return [line for line in lines if line]


def ends_with_newline(file: BinaryIO) -> bool:
    r"""Whether a file is empty or its last line ends with b"\n"; if not, it may be cut off. Moves the file position."""
    if not file.seek(0, os.SEEK_END):
        return True
    file.seek(-1, os.SEEK_END)
    return file.read() == b"\n"


# Any other value goes to the tolerant reader, which counts it as unknown.
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Tokens | None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Tokens | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    choices: tuple[_Choice]
    model: str | None = None
    usage: _Usage | None = None
    created: int | None = None
    error: None = None


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: _Body
    request_id: str | None = None


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response
    error: None = None


_decode = msgspec.json.Decoder(_Line).decode
# A time in seconds; milliseconds and text go to the tolerant reader.
_OK = 200
# Only the tolerant reader handles tool calls. Beside the text of a plain answer they have no effect.
_CALLS = (b'"tool_calls"', b'"function_call"')
_MAX_EPOCH_SECONDS = 100_000_000_000


PlainAnswer = tuple[str, str, str | None, int, int, int, int, int | None]
"""custom_id, content, reasoning, tokens (prompt, completion, cached, reasoning), created (epoch seconds)."""


def plain_answer(line: bytes) -> PlainAnswer | None:
    """What `parse_line` returns for by far the commonest line, in half the time; None for any other.

    That line is an answer in the normal shape, with text, which ended normally.
    """
    try:
        decoded = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    response = decoded.response
    body = response.body
    choice = body.choices[0]
    message = choice.message
    created = body.created
    if (
        choice.finish_reason != "stop"
        or response.status_code != _OK
        or not message.content
        or message.refusal
        or not decoded.custom_id
        or (created and not 0 < created <= _MAX_EPOCH_SECONDS)
    ):
        return None
    reasoning = message.reasoning_content or message.reasoning or None
    usage = body.usage
    if usage is None:
        return decoded.custom_id, message.content, reasoning, 0, 0, 0, 0, created
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    prompt_tokens, completion_tokens = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return (
        decoded.custom_id,
        message.content,
        reasoning,
        prompt_tokens,
        completion_tokens,
        0 if prompt is None else among(prompt.cached_tokens, prompt_tokens),
        0 if completion is None else among(completion.reasoning_tokens, completion_tokens),
        created,
    )


def parse_line(line: bytes) -> ResultLine | Anomaly:
    """Parse one line. OpenAI's normal shape takes the fast path, everything else the tolerant one."""
    try:
        decoded = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return read_odd_line(line)
    if any(field in line for field in _CALLS):
        return read_odd_line(line)
    response = decoded.response
    body = response.body
    created = body.created
    if response.status_code != _OK or not decoded.custom_id or (created and not 0 < created <= _MAX_EPOCH_SECONDS):
        return read_odd_line(line)
    choice = body.choices[0]
    message = choice.message
    usage = body.usage
    prompt_tokens = completion_tokens = cached_tokens = reasoning_tokens = 0
    if usage is not None:
        prompt_tokens = usage.prompt_tokens or 0
        completion_tokens = usage.completion_tokens or 0
        prompt_details, completion_details = usage.prompt_tokens_details, usage.completion_tokens_details
        if prompt_details is not None:
            cached_tokens = among(prompt_details.cached_tokens, prompt_tokens)
        if completion_details is not None:
            reasoning_tokens = among(completion_details.reasoning_tokens, completion_tokens)
    return ResultLine(
        decoded.custom_id,
        _OK,
        response.request_id,
        None,
        None,
        message.content,
        message.refusal or None,
        message.reasoning_content or message.reasoning or None,
        choice.finish_reason,
        body.model,
        prompt_tokens,
        completion_tokens,
        cached_tokens,
        reasoning_tokens,
        float(created) if created else None,
    )
