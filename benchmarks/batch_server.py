"""A server with nothing but batches: each call takes a second, a page of the list has a hundred at most.

    python batch_server.py BATCHES

Prints its port. Older batches come later in the list; only those that `POST /_end` names end.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any
from urllib.parse import parse_qs

import uvicorn

CALL_SECONDS = 1.0
PAGE_BATCHES = 100
_AGE_SECONDS = 2 * 3600.0
_REQUESTS = 50_000


class BatchServer:
    """The application. Counts calls, and records when each batch was last shown."""

    def __init__(self, batches: int) -> None:
        now = time.time()
        self._ids = [f"batch_{number:06}" for number in range(batches)]
        self._place = {batch_id: index for index, batch_id in enumerate(self._ids)}
        self._created_at = {batch_id: now - _AGE_SECONDS - index / 10 for batch_id, index in self._place.items()}
        self._ended_at: dict[str, float] = {}
        self._calls = {"list": 0, "get": 0}
        self._shown_at: dict[str, float] = {}
        self._longest: dict[str, float] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a request, as an ASGI application."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith("/_"):
            await _reply(send, self._control(path, (await receive()).get("body", b"")))
            return
        await asyncio.sleep(CALL_SECONDS)
        if path == "/v1/batches":
            self._calls["list"] += 1
            query = parse_qs(scope["query_string"].decode())
            first = self._place[query["after"][0]] + 1 if "after" in query else 0
            shown = self._ids[first : first + min(int(query.get("limit", ["20"])[0]), PAGE_BATCHES)]
            more = first + len(shown) < len(self._ids)
            reply = {"object": "list", "data": [self._show(batch_id) for batch_id in shown], "has_more": more}
        else:
            self._calls["get"] += 1
            reply = self._show(path.rpartition("/")[2])
        await _reply(send, reply)

    def _control(self, path: str, body: bytes) -> Any:
        """`/_end`: end these batches; `/_figures`: the calls since the last time, and the longest gap between polls."""
        if path == "/_end":
            self._ended_at |= dict.fromkeys(json.loads(body), time.time())
            return {}
        figures = {"calls": self._calls, "longest": max(self._longest.values(), default=0.0), "ended": self._ended_at}
        self._calls = {"list": 0, "get": 0}
        self._longest = {}
        return figures

    def _show(self, batch_id: str) -> dict[str, Any]:
        now = time.time()
        if batch_id in self._shown_at and batch_id not in self._ended_at:
            self._longest[batch_id] = max(self._longest.get(batch_id, 0.0), now - self._shown_at[batch_id])
        self._shown_at[batch_id] = now
        is_over = batch_id in self._ended_at
        return {
            "id": batch_id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": f"file-{batch_id}",
            "completion_window": "24h",
            "status": "completed" if is_over else "in_progress",
            "output_file_id": f"file-{batch_id}-out" if is_over else None,
            "created_at": int(self._created_at[batch_id]),
            "request_counts": {"total": _REQUESTS, "completed": _REQUESTS if is_over else _REQUESTS // 3, "failed": 0},
        }


async def _reply(send: Any, reply: Any) -> None:
    body = json.dumps(reply).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(BatchServer(int(sys.argv[1])), log_level="error", access_log=False, backlog=16_384)
    uvicorn.Server(config).run([listener])
