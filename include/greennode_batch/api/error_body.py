"""An error reply, in any of its shapes -> message, code, request id."""

import html
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from greennode_batch.api.fields import count, pick, text

MAX_MESSAGE_CHARS = 500
_MAX_CODE_CHARS = 100
# An error page has its message at the beginning; patterns over megabytes of it would take minutes.
_MAX_PAGE_BYTES = 8 * 1024
_MAX_DEPTH = 4
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-kong-request-id", "x-correlation-id", "x-trace-id", "cf-ray")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<(?:style|script)\b.*?</(?:style|script)>|<[^>]*>", re.IGNORECASE | re.DOTALL)
CODE_FIELDS = ("code", "error_code", "status_code", "ret_code", "err_code", "errcode", "errno", "result_code")
"""Where a reply has the code of an error, or of success."""
_MESSAGE_FIELDS = (
    "message",
    "msg",
    "error_message",
    "error_msg",
    "error_description",
    "detail",
    "title",
    "reason",
    "ret_msg",
    "err_msg",
    "errmsg",
    "result_msg",
)
# As gateways wrap an answer: {"code": 0, "message": "success", "data": {...}}. 20000 is SiliconFlow's.
_FINE_CODES = frozenset({"200", "201", "204", "20000", "ok", "success"})
_FINE_WORDS = frozenset({"ok", "success", "succeed", "succeeded", "successful", "completed", "done"})
# Control characters too: a terminal would act on them in a log.
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def parse_error(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
) -> tuple[str, str | None, str | None]:
    """(message, the API's code, request id) of an error reply: JSON, plain text, HTML or nothing at all."""
    lower = {name.lower(): value for name, value in headers.items()}
    request_ids = (_code(lower.get(name)) for name in _REQUEST_ID_HEADERS)
    request_id = next(filter(None, request_ids), None)
    data = decode(body)
    if data is None:
        return _plain(status, body), None, request_id
    message, code = describe(data)
    if request_id is None and isinstance(data, dict):
        request_id = _code(pick(data, "request_id", "trace_id"))
    return message or f"HTTP {status}, with a body that names no error", code, request_id


def decode(body: bytes) -> Any:
    """The JSON of a body, or None if it is not JSON."""
    try:
        return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def describe(data: object, depth: int = 0) -> tuple[str | None, str | None]:
    """(message, code) of an error given as an object, list or text; (None, None) if it holds neither."""
    if isinstance(data, str):
        return shorten(data) or None, None
    if depth > _MAX_DEPTH:
        return None, None
    if isinstance(data, list | tuple):
        return _described_list(data, depth)
    if isinstance(data, dict):
        return _described_object(data, depth)
    return None, None


def _described_object(data: dict[str, Any], depth: int) -> tuple[str | None, str | None]:
    message, code = None, _code(pick(data, "code", "error_code", "type", *CODE_FIELDS))
    error, *_ = found = (data.get("error"), pick(data, *_MESSAGE_FIELDS))
    if all(isinstance(part, str) and shorten(part) for part in found):
        # {"error": "Bad Request", "message": "the model is not known"}: the first is a name, not a message.
        return shorten(str(found[1])), code or _code(error)
    for field in ("error", *_MESSAGE_FIELDS, "errors", "data"):
        inner_message, inner_code = describe(pick(data, field), depth + 1)
        if inner_message is not None:
            message, code = inner_message, inner_code or code
            break
    if message is None:
        return code, code
    line, times = count(data.get("line")), count(data.get("count"))
    index = f"line {line}: " if line is not None else ""
    repeated = f" ({times} times)" if times is not None and times > 1 else ""
    return shorten(f"{index}{message}{repeated}"), code


def is_fine(message: str | None, code: str | None) -> bool:
    """Whether a code, or the words beside it, say that all is well. Of zeros alone it does, however many there are."""
    if code is not None and (code.lower() in _FINE_CODES or not code.strip("0")):
        return True
    return message is not None and message.strip(".! ").lower() in _FINE_WORDS


def _code(value: object) -> str | None:
    words = text(value)
    return None if words is None else shorten(words, _MAX_CODE_CHARS) or None


def _described_list(data: "list[Any] | tuple[Any, ...]", depth: int) -> tuple[str | None, str | None]:
    messages: list[str] = []
    code, chars = None, 0
    for item in data:
        message, item_code = describe(_validation_item(item), depth + 1)
        code = code or item_code
        if message is not None and message not in messages:
            messages.append(message)
            chars += len(message)
            if chars > MAX_MESSAGE_CHARS:
                break
    return shorten("; ".join(messages)) or None, code


def _validation_item(item: object) -> object:
    """FastAPI and Pydantic name the field in `loc`: {"loc": ["body", "model"], "msg": "Field required"}."""
    if isinstance(item, dict) and isinstance(item.get("loc"), list) and isinstance(item.get("msg"), str):
        index = ".".join(filter(None, map(text, item["loc"])))
        return {**item, "msg": f"{index}: {item['msg']}"}
    return item


def _plain(status: int, body: bytes) -> str:
    cut = "…" if len(body) > _MAX_PAGE_BYTES else ""
    words = body[:_MAX_PAGE_BYTES].decode("utf-8", "replace") + cut
    title = _TITLE.search(words)
    if title is not None:
        words = title[1]
    elif "<" in words:
        words = _TAGS.sub(" ", words)
    return shorten(html.unescape(words)) or f"HTTP {status}, with an empty body"


def shorten(words: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """One line of at most `limit` characters; it ends in "…" if it was cut."""
    line = _SPACE.sub(" ", words[: 4 * limit]).strip()
    return line if len(line) <= limit and len(words) <= 4 * limit else line[: limit - 1] + "…"
