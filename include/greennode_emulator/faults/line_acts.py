"""How line faults act: on whether there is an answer, on the answer, and on the line."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from greennode_emulator.faults import line_faults as faults
from greennode_emulator.refusals import RefusedError

Reply = dict[str, Any]


_encoder = msgspec.json.Encoder()
_SEPARATORS = "\u2028\u2029\u0085"
_NO_ANSWER = "The request was not answered."


class _Wish(msgspec.Struct):
    """The part of a request that decides what its answer has to look like."""

    response_format: Any = None


_wishes = msgspec.json.Decoder(_Wish)


def refusal_of(fault: faults.AnyLineFault | None) -> RefusedError | None:
    """The refusal that replaces an answer, if the fault is of that kind."""
    match fault:
        case faults.LineError():
            return RefusedError(fault.status, fault.message, code=fault.code, kind="server_error")
        case faults.NullResponse() | faults.StatusZero():
            return RefusedError(500, _NO_ANSWER, code="request_failed", kind="server_error")
        case _:
            return None


def altered(fault: faults.AnyLineFault | None, reply: Reply) -> Reply:
    """The answer as the fault changes it; the bill goes by this one."""
    act = _ANSWERS.get(type(fault))
    return reply if act is None else act(reply)


def leaves_no_answer(fault: faults.AnyLineFault, body: msgspec.Raw) -> bool:
    """Whether the fault destroys the answer to a request, so that no client can use what remains of it."""
    match fault:
        case faults.Missing() | faults.NotJson() | faults.EmptyAnswer():
            return True
        case faults.UnknownId():
            return fault.instead
        case faults.WrongSchema():
            return _asks_for_schema(body)
        case _:
            # There is an answer, perhaps hard to read, or a final outcome: it was cut off or withheld.
            return False


def written(fault: faults.AnyLineFault, line: Reply, show: Callable[[Reply], Reply]) -> list[bytes]:
    """The lines in the file that replace a line; `show` gives a line the shape of the file's lines."""

    def encode(one: Reply) -> bytes:
        return _encoder.encode(show(one))

    text = encode(line)
    custom_id = line["custom_id"]
    lines = [text]
    match fault:
        case faults.Missing():
            lines = []
        case faults.Duplicate():
            failure = encode(_null_response(custom_id, {"code": "request_failed", "message": _NO_ANSWER}))
            lines = {"same": [text, text], "failure_first": [failure, text], "success_first": [text, failure]}[
                fault.order
            ]
        case faults.UnknownId():
            stranger = encode({**line, "custom_id": f"unknown-{custom_id}"})
            lines = [stranger] if fault.instead else [text, stranger]
        case faults.NotJson():
            lines = [text[: len(text) // 2]]
        case faults.Utf16Line():
            lines = [text.decode().encode("utf-16-le")]
        case faults.NullResponse():
            error = _NO_ANSWER if fault.error == "text" else {"code": "request_failed", "message": _NO_ANSWER}
            lines = [encode(_null_response(custom_id, error))]
        case faults.StatusZero():
            response = {"status_code": 0, "request_id": "", "body": None}
            lines = [encode({**_null_response(custom_id, None), "response": response})]
    return lines


def _asks_for_schema(body: msgspec.Raw) -> bool:
    wish = _wishes.decode(body).response_format
    return isinstance(wish, dict) and wish.get("type") == "json_schema"


def _null_response(custom_id: str, error: Any) -> Reply:
    return {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": None, "error": error}


def _with_first_choice(
    reply: Reply, content: str | None, *, finish_reason: str | None = None, tokens: int | None = None
) -> Reply:
    first, *others = reply["choices"]
    choice = {**first, "message": {**first["message"], "content": content}}
    if finish_reason is not None:
        choice["finish_reason"] = finish_reason
    usage = dict(reply.get("usage") or {})
    if tokens is not None and usage:
        usage |= {"completion_tokens": tokens, "total_tokens": usage.get("prompt_tokens", 0) + tokens}
    return {**reply, "choices": [choice, *others], "usage": usage}


def _content(reply: Reply) -> str:
    content: str | None = reply["choices"][0]["message"].get("content")
    return content or ""


def _tokens(reply: Reply) -> int:
    tokens: int = (reply.get("usage") or {}).get("completion_tokens", 0)
    return tokens


def _separate(reply: Reply) -> Reply:
    marked = {**reply, "system_fingerprint": f"a{_SEPARATORS}b"}
    content = _content(reply)
    # A JSON answer would no longer be JSON.
    return (
        marked
        if content.startswith(("{", "[")) and _is_json(content)
        else _with_first_choice(marked, f"{content}{_SEPARATORS}end")
    )


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def _cut_off(reply: Reply) -> Reply:
    content = _content(reply)
    half = content[: len(content) // 2]
    return _with_first_choice(reply, half, finish_reason="length", tokens=_tokens(reply) // 2)


_ANSWERS: Mapping[type[Any], Callable[[Reply], Reply]] = {
    faults.Separators: _separate,
    faults.WrongSchema: lambda reply: _with_first_choice(reply, '{"emulator_fault":["wrong_schema"]}'),
    faults.EmptyAnswer: lambda reply: _with_first_choice(reply, "", tokens=0),
    faults.CutOff: _cut_off,
    faults.ContentFilter: lambda reply: _with_first_choice(reply, None, finish_reason="content_filter"),
}
