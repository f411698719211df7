"""How call faults act, around the application."""

import gzip
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from fastapi import Response

from greennode_emulator.dialects.dialect import Dialect
from greennode_emulator.error_bodies import BODIES
from greennode_emulator.faults import call_faults as faults
from greennode_emulator.open_connections import close_connection, pause, reset_connection
from greennode_emulator.refusals import RefusedError
from greennode_emulator.replies import body_reply, refusal_reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
FaultT = TypeVar("FaultT", bound=faults.CallFault)

_SLICES_A_SECOND = 20
_LOST = "greennode_emulator.reply_is_lost"
_CUT = "greennode_emulator.reply_is_cut"
_FAULT = "greennode_emulator.fault"
_BODILESS = frozenset({204, 304})


async def act_out(
    fault: faults.CallFault, app: App, scope: Scope, receive: Receive, send: Send, *, dialect: Dialect
) -> None:
    """Serve one call as the fault says."""
    match fault:
        case faults.ErrorAfter():
            await _carry_out(app, scope, receive)
            await _refusal(fault, dialect)(scope, receive, send)
        case faults.Refusal():
            await _drain(receive)
            await _refusal(fault, dialect)(scope, receive, send)
        case faults.Timeout():
            await (_carry_out(app, scope, receive) if fault.done else _drain(receive))
            await pause(scope)
            close_connection(scope)
            await _until_gone(receive)
        case faults.ResetBefore():
            reset_connection(scope)
            await _until_gone(receive)
        case faults.ResetAfter():
            await _carry_out(app, scope, receive)
            reset_connection(scope)
            await _until_gone(receive)
        case faults.PartialList() | faults.ContentUrl() | faults.ChatAnswer():
            # The handler knows what a list, a file or an answer is, and applies the fault.
            scope[_FAULT] = fault
            await app(scope, receive, send)
        case _:
            await _alter(fault, app, scope, receive, send)


async def _alter(fault: faults.CallFault, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one call whose reply arrives differently from how the application sends it."""
    match fault:
        case faults.Headers():
            extra = [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]
            await app(scope, receive, _with_headers(send, extra))
        case faults.Slow():
            await pause(scope, fault.seconds)
            slow = _dripping(scope, send, fault.bytes_per_second) if fault.bytes_per_second else send
            await app(scope, receive, slow)
        case faults.Stalled():
            scope[_CUT] = True
            await _stall(fault, app, scope, receive, send)
        case faults.Truncated():
            scope[_CUT] = True
            await _truncate(fault, app, scope, receive, send)
        case faults.Gzip():
            await _compress(fault, app, scope, receive, send)


def is_reply_lost(scope: Scope) -> bool:
    """Whether a fault makes sure that the client gets nothing of the reply to this request."""
    return _LOST in scope


def is_reply_cut(scope: Scope) -> bool:
    """Whether a fault makes sure that the client gets only a part of the reply."""
    return _LOST in scope or _CUT in scope


def fault_of(scope: Scope, kind: type[FaultT]) -> FaultT | None:
    """The fault that the handler itself has to apply, if it is of that kind."""
    fault = scope.get(_FAULT)
    return fault if isinstance(fault, kind) else None


async def _carry_out(app: App, scope: Scope, receive: Receive) -> None:
    """Do everything that the request asks for, and send nothing."""
    scope[_LOST] = True
    await app(scope, receive, _swallow)


def _refusal(fault: faults.Refusal, dialect: Dialect) -> Response:
    refusal = RefusedError(fault.status, fault.message, code=fault.code, kind="server_error")
    if fault.status in _BODILESS:
        reply = Response(status_code=fault.status)
    elif fault.shape == "dialect":
        reply = refusal_reply(refusal, dialect)
        reply.status_code = fault.status
    else:
        reply = body_reply(BODIES[fault.shape](refusal), status=fault.status)
    reply.headers.update(fault.headers)
    return reply


async def _swallow(_message: Message) -> None:
    pass


async def _drain(receive: Receive) -> None:
    """Receive the whole request: a reply in the middle of an upload would seem like a broken pipe."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)


async def _until_gone(receive: Receive) -> None:
    # If we returned before the server sees the end, it would send a 500 instead of the missing reply.
    while (await receive())["type"] != "http.disconnect":
        pass


def _with_headers(send: Send, extra: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *extra]
        await send(message)

    return send_with_headers


def _dripping(scope: Scope, send: Send, bytes_per_second: int) -> Send:
    size = max(1, bytes_per_second // _SLICES_A_SECOND)

    async def drip(message: Message) -> None:
        body = message.get("body", b"")
        for start in range(0, len(body), size):
            await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
            await pause(scope, min(size, len(body) - start) / bytes_per_second)
        await send({**message, "body": b""} if "body" in message else message)

    return drip


async def _whole_reply(app: App, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """The reply's start, without a length, and its body. Holds all of it."""
    start: Message = {}
    parts: list[bytes] = []

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    start["headers"] = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    return start, b"".join(parts)


def _length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", str(size).encode()


async def _stall(fault: faults.Stalled, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    start, body = await _whole_reply(app, scope, receive)
    start["headers"].append(_length(len(body)))
    await send(start)
    part = body[: min(int(len(body) * fault.fraction), max(0, len(body) - 1))]
    await send({"type": "http.response.body", "body": part, "more_body": True})
    await pause(scope)
    close_connection(scope)
    await _until_gone(receive)


async def _truncate(fault: faults.Truncated, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    start, body = await _whole_reply(app, scope, receive)
    # Never at the end of a line, and never all of it.
    part = body[: min(int(len(body) * fault.fraction), max(0, len(body) - 2))].rstrip(b"\n}")
    if fault.length != "none":
        start["headers"].append(_length(len(part if fault.length == "right" else body)))
    await send(start)
    if fault.length == "lying":
        await send({"type": "http.response.body", "body": part, "more_body": True})
        close_connection(scope)
        await _until_gone(receive)
    else:
        await send({"type": "http.response.body", "body": part, "more_body": False})


async def _compress(fault: faults.Gzip, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    start, body = await _whole_reply(app, scope, receive)
    packed = gzip.compress(body, mtime=0)
    start["headers"].append(_length(len(packed)))
    if fault.declared:
        start["headers"].append((b"content-encoding", b"gzip"))
    await send(start)
    await send({"type": "http.response.body", "body": packed, "more_body": False})
