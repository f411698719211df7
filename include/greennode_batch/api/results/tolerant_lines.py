"""Result lines that are not in the normal shape -> ResultLine or Anomaly; keeps every part that it can read."""

import codecs
import json
import re
from http import HTTPStatus
from typing import Any

from greennode_batch.api.bounds import MAX_LINE_BYTES, MAX_TOKENS, in_mib
from greennode_batch.api.error_body import decode, describe, is_fine, shorten
from greennode_batch.api.fields import count, epoch_seconds, pick, text
from greennode_batch.api.results.result_line import Anomaly, CutLine, ResultLine, ToolCall

_SHOWN_CHARS = 200
_MAX_DIGITS = 1_000
# The depth of nested parts; a model's answer has two levels.
_MAX_DEPTH = 20
_NO_JSON: Any = object()
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_WRAPPERS = ("data", "result", "response", "body", "output")
_THINKING_PARTS = frozenset({"thinking", "reasoning", "reasoning_text"})


def read_odd_line(line: bytes) -> ResultLine | Anomaly:
    """Parse a line that is not in the normal shape. Never raises."""
    if not line.strip(b" \t\r\n\x00"):
        return Anomaly("blank", "")
    data = _NO_JSON if isinstance(line, CutLine) else _read_json(line)
    if data is _NO_JSON:
        return _unreadable(line)
    if not isinstance(data, dict):
        return Anomaly("not_object", _shown(line))
    if pick(data, "custom_id") is None:
        # Some servers wrap every reply, and every line, in this.
        inner = next((data[name] for name in _WRAPPERS if isinstance(data.get(name), dict)), data)
        data = inner if pick(inner, "custom_id") is not None else data
    custom_id = pick(data, "custom_id")
    custom_id = custom_id if isinstance(custom_id, str) else text(custom_id)
    if custom_id is None:
        message, _ = describe(data)
        # A server may refuse a whole file with one line: {"error": {...}}, or a gateway's message.
        if message is not None and ("error" in data or "errors" in data or "message" in data or "detail" in data):
            return Anomaly("file_error", message)
        return Anomaly("no_custom_id", _shown(line))
    return _result(custom_id, data)


def _result(custom_id: str, data: dict[str, Any]) -> ResultLine:
    response = _unquoted(pick(data, "response", "result"))
    request_id = text(pick(data, "request_id"))
    line_error = data.get("error") or None
    if not isinstance(response, dict):
        body: Any = response if response is not None else data.get("body", data if "choices" in data else None)
        status = count(pick(data, "status_code"))
        return result_of_body(body, custom_id=custom_id, status_code=status, request_id=request_id, error=line_error)
    status = count(pick(response, "status_code", "status"))
    if status is None:
        status = count(pick(data, "status_code"))
    # If `response` is the body itself, it holds the answer or the error.
    body = _unquoted(response["body"]) if "body" in response else response
    request_id = text(pick(response, "request_id")) or request_id
    return result_of_body(body, custom_id=custom_id, status_code=status, request_id=request_id, error=line_error)


def result_of_body(
    body: object,
    *,
    custom_id: str = "",
    status_code: int | None = None,
    request_id: str | None = None,
    error: object = None,
) -> ResultLine:
    """The outcome of a chat completion's body, or of an error in its place."""
    if isinstance(body, dict) and "choices" not in body:
        inner = next((body[name] for name in _WRAPPERS if isinstance(body.get(name), dict)), body)
        body = inner if "choices" in inner else body
    fields = body if isinstance(body, dict) else {}
    choice = _first_choice(fields)
    message, code = describe(error)
    if message is None:
        message, code = _body_error(body, has_answer=choice is not None, status_code=status_code)
    if message is not None or choice is None:
        is_wordless = message is None or (not describe(error)[0] and _is_no_error(message, code, status_code))
        if message is None:
            message = f"no answer in the response (status {status_code})"
        return ResultLine(
            custom_id,
            status_code,
            request_id,
            code,
            message,
            model=text(fields.get("model")),
            is_wordless=is_wordless,
        )
    answer = choice.get("message", choice)
    answer = answer if isinstance(answer, dict) else {"content": answer}
    content, part_reasoning, part_refusal = _spoken(answer.get("content", answer.get("text")))
    reasoning, more_reasoning, _ = _spoken(pick(answer, "reasoning_content", "reasoning"))
    refusal, _, more_refusal = _spoken(pick(answer, "refusal"))
    usage = fields.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    prompt_tokens = _tokens(usage, "prompt_tokens", "input_tokens")
    completion_tokens = _tokens(usage, "completion_tokens", "output_tokens")
    cached_tokens = _tokens(pick(usage, "prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    reasoning_tokens = _tokens(pick(usage, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    return ResultLine(
        custom_id,
        status_code,
        request_id,
        content=content,
        refusal=refusal or more_refusal or part_refusal,
        reasoning=reasoning or more_reasoning or part_reasoning,
        finish_reason=_finish_reason(choice),
        model=text(fields.get("model")),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cached_tokens=among(cached_tokens, prompt_tokens),
        reasoning_tokens=among(reasoning_tokens, completion_tokens),
        created=epoch_seconds(fields.get("created")),
        tool_calls=_tool_calls(answer),
    )


def _finish_reason(choice: dict[str, Any]) -> str | None:
    """The word for the end of an answer, which some servers wrap: {"type": "stop", "matched": 2}."""
    word = pick(choice, "finish_reason", "stop_reason")
    return text(pick(word, "type", "reason") if isinstance(word, dict) else word)


def _body_error(body: object, *, has_answer: bool, status_code: int | None) -> tuple[str | None, str | None]:
    if isinstance(body, dict):
        message, code = describe(body.get("error"))
        if message is not None:
            return message, code
    refused = status_code is not None and status_code >= HTTPStatus.BAD_REQUEST
    if has_answer and not refused:
        return None, None
    message, code = describe(body)
    if message is None and refused:
        message = f"HTTP {status_code}"
    return message, code


def _is_no_error(message: str, code: str | None, status_code: int | None) -> bool:
    """Whether a body without an answer reports success: the answer is then somewhere else."""
    if status_code is not None and status_code >= HTTPStatus.BAD_REQUEST:
        return False
    return is_fine(message, code)


def _first_choice(fields: dict[str, Any]) -> dict[str, Any] | None:
    choices = fields.get("choices")
    if isinstance(choices, list):
        choices = choices[0] if choices else None
    if isinstance(choices, dict) and not {"message", "text"} & choices.keys():
        # An object keyed by index: {"0": {"message": ...}}.
        choices = next((value for value in choices.values() if isinstance(value, dict)), None)
    return choices if isinstance(choices, dict) and {"message", "text"} & choices.keys() else None


def _tool_calls(answer: dict[str, Any]) -> tuple[ToolCall, ...]:
    """The tool calls of a message, in `tool_calls` or in the older `function_call`."""
    calls = pick(answer, "tool_calls") or pick(answer, "function_call")
    calls = calls if isinstance(calls, list) else [calls]
    functions = [pick(call, "function", "custom") or call for call in calls if isinstance(call, dict)]
    return tuple(
        ToolCall(text(pick(function, "name")) or "", _arguments(pick(function, "arguments", "input", "parameters")))
        for function in functions
        if isinstance(function, dict)
    )


def _arguments(value: object) -> str:
    return value if isinstance(value, str) else json.dumps({} if value is None else value, ensure_ascii=False)


def _spoken(content: object) -> tuple[str | None, str | None, str | None]:
    """(text, thinking, refusal) of a content: text, a part, a list of parts, or null."""
    if content is None or isinstance(content, str):
        return content, None, None
    said: list[str] = []
    thought: list[str] = []
    refused: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        words = _words(part)
        if words is not None:
            (thought if kind in _THINKING_PARTS else refused if kind == "refusal" else said).append(words)
    return tuple("".join(words) if words else None for words in (said, thought, refused))  # type: ignore[return-value]


def _words(part: object, depth: int = 0) -> str | None:
    if isinstance(part, str):
        return part
    if depth > _MAX_DEPTH:
        return None
    if isinstance(part, list):
        return "".join(filter(None, (_words(inner, depth + 1) for inner in part))) or None
    if isinstance(part, dict):
        return _words(pick(part, "text", "thinking", "reasoning", "refusal", "content"), depth + 1)
    return None


def among(part: int | None, whole: int) -> int:
    """Tokens that are part of a total; 0, for unknown, if the API reports more of them than the total."""
    return part if part is not None and part <= whole else 0


def _tokens(usage: object, *names: str) -> int:
    """A count of tokens; 0, for unknown, if it is not a whole number that a request can have."""
    said = pick(usage, *names) if isinstance(usage, dict) else None
    tokens = count(said)
    if said is None or tokens is None or tokens > MAX_TOKENS or tokens != float(said):
        return 0
    return tokens


def _unquoted(value: object) -> object:
    """The object, if a JSON object was written as a string."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        data = _loads(value)
        return value if data is _NO_JSON else data
    return value


def _read_json(line: bytes) -> Any:
    data = decode(line)
    if data is not None:
        return data
    for words in _decodings(line):
        data = _loads(words)
        if data is not _NO_JSON:
            return data
    return _NO_JSON


def _decodings(line: bytes) -> list[str]:
    """The texts that these bytes may stand for, the likeliest first."""
    if b"\x00" not in line:
        # A byte that is not UTF-8 costs a character, not the answer that was paid for.
        return [line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")]
    # UTF-16 cut at b"\n": a little-endian line starts with the second half of the line end before it.
    little = line.removeprefix(codecs.BOM_UTF16_LE).removeprefix(b"\x00" if len(line) % 2 else b"")
    big = line.removeprefix(codecs.BOM_UTF16_BE)
    whole = [half[: len(half) // 2 * 2] for half in (little, big)]
    texts = [whole[0].decode("utf-16-le", "replace"), whole[1].decode("utf-16-be", "replace")]
    return [words.strip("\ufeff\x00 \t\r\n") for words in texts]


def _loads(words: str) -> Any:
    try:
        # The standard library accepts what msgspec refuses: NaN, lone surrogates, huge numbers.
        return _mended(json.loads(words, parse_int=_number))
    except (ValueError, RecursionError):
        return _NO_JSON


def _number(digits: str) -> int | float:
    # Python refuses to read integers of more than 4,300 digits.
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)


def _mended(value: Any) -> Any:
    """The same value with U+FFFD for lone surrogates, which no file or database can store."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


def _unreadable(line: bytes) -> Anomaly:
    if not isinstance(line, CutLine):
        return Anomaly("not_json", _shown(line))
    bound = in_mib(MAX_LINE_BYTES)
    words = f"a line of more than {bound} was not read; its request, which may have been paid for, counts as missing"
    return Anomaly("too_long", f"{words}: {_shown(line)}")


def _shown(line: bytes) -> str:
    return shorten(line[: 4 * _SHOWN_CHARS].decode("utf-8", "replace"), _SHOWN_CHARS)
