"""Makes the Test button of Airflow's connections page work without a port: in Airflow 3.3.1 and 3.3.2 it always fails.

The page sends port 0 for no port. The API takes that for a different server from the stored one, so it does not send
the stored key there. apache/airflow#73298 fixes this in a later version, where this middleware changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_PATH = "/api/v2/connections/test"


class NoPortIsNone:
    """ASGI middleware: removes port 0 from the test of a GreenNode connection."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(_PATH):
            body = _without_port_0(await _read(receive))
            headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
            scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
            receive = _once(body, receive)
        await self._app(scope, receive, send)


def _without_port_0(body: bytes) -> bytes:
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body
    if not isinstance(said, dict) or said.get("conn_type") != "greennode" or said.get("port") != 0:
        return body
    # Not left out: then a stored port would not be compared at all.
    return msgspec.json.encode({**said, "port": None})


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then all later messages of the client."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return whole.pop() if whole else await receive()

    return receive_again
