"""The entrance: every request gets its id, is counted, shows its key, and meets its fault here."""

import ipaddress
import logging
import secrets
import time
from hmac import compare_digest

from starlette.routing import Match, Route

from greennode_emulator.core import Emulator
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.faults.call_acts import App, Message, Receive, Scope, Send, act_out
from greennode_emulator.refusals import RefusedError
from greennode_emulator.replies import refusal_reply
from greennode_emulator.storage import STORAGE_PREFIX

logger = logging.getLogger(__name__)

CONTROL_PREFIX = "/_emulator"


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, *, emulator: Emulator, routes: list[Route]) -> None:
        self._app = app
        self._emulator = emulator
        self._routes = routes
        headers = emulator.dialect.headers.items()
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = f"req_{secrets.token_hex(12)}"
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = (*self._headers, (b"x-request-id", request_id.encode()))
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await self._serve(scope, receive, send_with_id)
        elapsed_ms = (time.perf_counter() - started) * 1000
        logger.debug("%s %s %s %.1f ms", scope["method"], scope["path"], status or "reset", elapsed_ms)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refuse_stranger(scope)
        if refusal is not None:
            await refusal_reply(refusal, self._emulator.dialect)(scope, receive, send)
            return
        endpoint = self._endpoint(scope)
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        self._emulator.ledger.count_call(endpoint)
        fault = self._emulator.faults.take_call(endpoint)
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await act_out(fault, self._app, scope, receive, send, dialect=self._emulator.dialect)

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        """The operation of a request, if there is one."""
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return Endpoint(route.name)
        return None

    def _refuse_stranger(self, scope: Scope) -> RefusedError | None:
        """The refusal if a key is missing or wrong; control calls from this machine need none."""
        if scope["path"].startswith(CONTROL_PREFIX) and _is_loopback(scope):
            return None
        if scope["path"].startswith(STORAGE_PREFIX + "/"):
            return None
        name, _, form = self._emulator.dialect.key_header.partition(": ")
        scheme = form.removesuffix("{key}")
        given = next((value for header, value in scope["headers"] if header.decode().lower() == name.lower()), b"")
        text = given.decode("latin-1")
        key = text[len(scheme) :] if text.lower().startswith(scheme.lower()) else ""
        if not key:
            message = f"You didn't provide an API key. Send it as '{name}: {scheme}YOUR_KEY'."
            return RefusedError(401, message)
        if any(compare_digest(key.strip().encode(), known.encode()) for known in self._emulator.settings.api_keys):
            return None
        return RefusedError(401, "Incorrect API key provided.", code="invalid_api_key")


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and ipaddress.ip_address(client[0]).is_loopback
