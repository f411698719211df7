"""A batch API in memory: files and batches on a virtual clock, and a ledger of what is billed.

As an httpx transport: each request is a step before the server receives it, and another one before its reply arrives.
It shares no code with the client.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from greennode_faults.interleavings.workers import step

BATCH_SECONDS = 300.0
_PREFIX = "/v1"


@dataclass
class _Batch:
    id: str
    file_id: str
    metadata: dict[str, str]
    created_at: float
    fate: str = "completes"
    status: str = "in_progress"
    output_id: str | None = None


@dataclass(frozen=True)
class Trouble:
    """Faults of the first creates: how many are refused or end for lack of capacity, or get no reply.

    lacking: how many batches have a request that is billed but missing from the result files. chats_unanswered: how
    many of the first live requests get no reply.
    """

    refused: int = 0
    over_capacity: int = 0
    unanswered: int = 0
    lacking: int = 0
    chats_unanswered: int = 0


@dataclass
class SmallApi:
    """The server. now: its clock."""

    now: Callable[[], float]
    trouble: Trouble = field(default_factory=Trouble)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    batches: dict[str, _Batch] = field(default_factory=dict)
    billed: Counter[str] = field(default_factory=Counter)
    wasted: Counter[str] = field(default_factory=Counter)
    creates: int = 0
    chats: int = 0
    given_up: set[str] = field(default_factory=set)

    def kept(self) -> Callable[[Callable[[], float]], SmallApi]:
        """Makes servers in this one's current state."""
        files, batches = dict(self.files), [replace(batch) for batch in self.batches.values()]
        billed, wasted, creates, trouble = Counter(self.billed), Counter(self.wasted), self.creates, self.trouble
        chats = self.chats

        def again(now: Callable[[], float]) -> SmallApi:
            own = {batch.id: replace(batch) for batch in batches}
            return SmallApi(now, trouble, dict(files), own, Counter(billed), Counter(wasted), creates, chats)

        return again

    def state(self) -> str:
        """Everything that it holds, as text that differs if the content does."""
        own = (self.files, list(self.batches.values()), sorted(self.given_up), self.creates, self.chats)
        return repr((*own, sorted(self.billed.items()), sorted(self.wasted.items())))

    def settle(self, *, whole: bool = False) -> None:
        """End the batches that are due, or all of them; what ends is billed."""
        for batch in self.batches.values():
            if batch.status == "in_progress" and (whole or self.now() >= batch.created_at + BATCH_SECONDS):
                self._end(batch)

    def handle(self, request: httpx.Request) -> httpx.Response:  # noqa: C901, PLR0911 - one table of routes
        """The reply to one request."""
        self.settle()
        path = request.url.path.removeprefix(_PREFIX)
        parts = path.strip("/").split("/")
        match request.method, parts:
            case "POST", ["files"]:
                name, data = _upload_in(request)
                return _json(self._file(name, data))
            case "GET", ["files"]:
                return _json({"data": [self._file_view(one) for one in self.files], "has_more": False})
            case "GET", ["files", file_id] if file_id in self.files:
                return _json(self._file_view(file_id))
            case "DELETE", ["files", file_id] if file_id in self.files:
                del self.files[file_id]
                return _json({"id": file_id, "deleted": True})
            case "GET", ["files", file_id, "content"] if file_id in self.files:
                return httpx.Response(200, content=self.files[file_id][1])
            case "POST", ["batches"]:
                return self._create(json.loads(request.content))
            case "POST", ["chat", "completions"]:
                return self._chat(request.content)
            case "GET", ["batches"]:
                newest = list(reversed(self.batches.values()))
                return _json({"data": [_view(batch) for batch in newest], "has_more": False})
            case "GET", ["batches", batch_id] if batch_id in self.batches:
                return _json(_view(self.batches[batch_id]))
            case "POST", ["batches", batch_id, "cancel"] if batch_id in self.batches:
                batch = self.batches[batch_id]
                self.given_up.add(batch_id)
                if batch.status != "in_progress":
                    return _json({"error": {"message": "the batch has ended"}}, status=409)
                batch.status = "cancelled"
                return _json(_view(batch))
        return _json({"error": {"message": f"nothing at {request.method} {path}"}}, status=404)

    def _create(self, body: dict[str, Any]) -> httpx.Response:
        file_id = body["input_file_id"]
        if file_id not in self.files:
            return _json({"error": {"message": f"no file {file_id}"}}, status=404)
        self.creates += 1
        trouble = self.trouble
        if self.creates <= trouble.refused:
            return _json({"error": {"message": "busy", "code": "rate_limit_exceeded"}}, status=429)
        number = len(self.batches) + 1
        batch = _Batch(f"batch_{number}", file_id, body.get("metadata") or {}, self.now())
        if number <= trouble.over_capacity:
            batch.fate = "is refused"
        elif number <= trouble.over_capacity + trouble.lacking:
            batch.fate = "lacks lines"
        self.batches[batch.id] = batch
        if number <= trouble.unanswered:
            raise httpx.ReadError("the connection was reset")
        return _json(_view(batch))

    def _chat(self, body: bytes) -> httpx.Response:
        """Answer a live request, whose body has the hash that is its id."""
        custom_id = hashlib.blake2b(body, digest_size=16).hexdigest()
        self.chats += 1
        self.billed[custom_id] += 1
        if self.chats <= self.trouble.chats_unanswered:
            self.wasted[custom_id] += 1
            raise httpx.ReadError("the connection was reset")
        return _json(_completion(custom_id))

    def _end(self, batch: _Batch) -> None:
        if batch.fate == "is refused":
            batch.status = "failed"
            return
        ids = [json.loads(line)["custom_id"] for line in self.files[batch.file_id][1].splitlines()]
        self.billed.update(ids)
        lacking = ids[:1] if batch.fate == "lacks lines" else []
        self.wasted.update(lacking)
        lines = b"".join(_answer(one) for one in ids if one not in lacking)
        batch.status = "completed"
        batch.output_id = self._file(f"{batch.id}.jsonl", lines)["id"]

    def _file(self, name: str, data: bytes) -> dict[str, Any]:
        file_id = f"file-{len(self.files) + 1}-{name[:6]}"
        self.files[file_id] = (name, data)
        return self._file_view(file_id)

    def _file_view(self, file_id: str) -> dict[str, Any]:
        name, data = self.files[file_id]
        return {"id": file_id, "object": "file", "filename": name, "bytes": len(data), "status": "processed"}


class SmallApiTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Takes a client's requests to a server, in steps. api: may be another one for each schedule."""

    def __init__(self, api: SmallApi) -> None:
        self.api = api

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        request.read()
        what = f"{request.method} {request.url.path.removeprefix(_PREFIX)}"
        step(what)
        try:
            return self.api.handle(request)
        finally:
            step(f"the reply to {what}")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The same for live requests: the worker's event loop stops with it."""
        return self.handle_request(request)


def _json(value: Any, *, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=value)


def _view(batch: _Batch) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": batch.id,
        "object": "batch",
        "status": batch.status,
        "input_file_id": batch.file_id,
        "output_file_id": batch.output_id,
        "error_file_id": None,
        "created_at": int(batch.created_at),
        "metadata": batch.metadata,
    }
    if batch.status == "failed":
        view["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "enqueued token limit reached"}]}
    return view


def answer_to(custom_id: str) -> str:
    """The answer to a request."""
    return f"of {custom_id}"


def _completion(custom_id: str) -> dict[str, Any]:
    return {
        "id": f"answer-{custom_id[:8]}",
        "object": "chat.completion",
        "model": "model",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer_to(custom_id)}}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }


def _answer(custom_id: str) -> bytes:
    response = {"status_code": 200, "body": _completion(custom_id)}
    line = {"custom_id": custom_id, "response": response, "error": None}
    return json.dumps(line).encode() + b"\n"


def _upload_in(request: httpx.Request) -> tuple[str, bytes]:
    """The name and the bytes of the file in a multipart body."""
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    for part in request.content.split(b"--" + boundary):
        head, _, data = part.partition(b"\r\n\r\n")
        if b"filename=" in head:
            return head.partition(b'filename="')[2].partition(b'"')[0].decode(), data.removesuffix(b"\r\n")
    raise ValueError("no file in the body")
