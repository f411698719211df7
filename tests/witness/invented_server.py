"""What invented servers of the tests are made of: HTTP on two loopback ports, files, batches and who pays.

They share no code with the engine nor with the emulator, so that a misreading of both shows here.
"""

from __future__ import annotations

import email
import email.policy
import itertools
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

KEY = "key-of-an-invented-server"
MODEL = "acme/answerer-2"


class Call(NamedTuple):
    """A request as it came. found: what the route's pattern matched, unquoted."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    found: dict[str, str]

    @property
    def json(self) -> dict[str, Any]:
        """The body, which has to be a JSON object."""
        try:
            data = json.loads(self.body)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
        return data

    @property
    def form(self) -> dict[str, tuple[str | None, bytes]]:
        """The parts of a multipart body: name -> (filename, content)."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "a form is wanted")
        head = f"content-type: {kind}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        parts = {}
        for part in message.iter_parts():
            assert isinstance(part, EmailMessage)
            name = part.get_param("name", header="content-disposition")
            parts[str(name)] = (part.get_filename(), part.get_payload(decode=True))
        return parts


class Reply(NamedTuple):
    """What is answered: JSON of anything but bytes."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}

    def encoded(self) -> bytes:
        """The body as bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


class RefusedError(Exception):
    """A call that is refused, in the words of a status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass
class File:
    """A file; content None until its bytes came."""

    id: str
    name: str
    content: bytes | None
    made_at: float = field(default_factory=time.time)


@dataclass
class Batch:
    """A batch that moves on each time that it is looked at, and ends at the third."""

    id: str
    file_id: str
    tags: Any
    lines: list[dict[str, Any]]
    output: File
    errors: File | None
    made_at: float = field(default_factory=time.time)
    looks: int = 0
    cancelled_at: int | None = None

    @property
    def phase(self) -> str:
        """waiting, running, ended, stopping or stopped."""
        if self.cancelled_at is not None:
            return "stopped" if self.looks > self.cancelled_at + 1 else "stopping"
        return ("waiting", "running")[self.looks] if self.looks <= 1 else "ended"


Handler = Callable[[Call], Reply]


class InventedServer:
    """A server on two ports: its API, which wants the key, and a store of files, which must not get it."""

    prefix = "/v1"
    key_header: ClassVar[tuple[str, str]] = ("authorization", f"Bearer {KEY}")
    described: ClassVar[tuple[str, ...]] = ()
    """Fields of its profile that nobody can guess."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self.billed: Counter[str] = Counter()
        self.created = 0
        self.drops = 0
        """So many creates are carried out, and get no reply."""
        self.numbers = itertools.count(4711)
        self.lock = threading.Lock()
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler(routes)) for routes in self._ports()]
        for server in self._servers:
            server.daemon_threads = True

    @property
    def base_url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self._servers[0].server_port}{self.prefix}"

    @property
    def store_url(self) -> str:
        """Where the other host is."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def __enter__(self) -> Self:
        """Serve until the block ends."""
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both ports."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def forget(self) -> None:
        """Begin again, without files, batches and bills."""
        self.files.clear()
        self.batches.clear()
        self.billed.clear()
        self.created = self.drops = 0

    # What a server of its own kind says.

    def routes(self) -> dict[tuple[str, str], Handler]:
        """(method, pattern of a path below the prefix) -> what answers it."""
        raise NotImplementedError

    def refusal(self, status: int, words: str) -> Reply:
        """How a call is refused."""
        raise NotImplementedError

    def result_line(self, custom_id: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
        """A line of a result file: a chat completion, or {"message": ...}."""
        raise NotImplementedError

    # What all have.

    def store(self, name: str, content: bytes | None, file_id: str | None = None) -> File:
        """Keep a file."""
        file = File(file_id or self.new_id("f"), name, content)
        self.files[file.id] = file
        return file

    def new_id(self, kind: str) -> str:
        """An id that nothing else has."""
        return f"{kind}{next(self.numbers)}"

    def file(self, file_id: str) -> File:
        """A file that is there."""
        if file_id not in self.files:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"no file {file_id}")
        return self.files[file_id]

    def batch(self, batch_id: str) -> Batch:
        """A batch that is there."""
        if batch_id not in self.batches:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"no batch {batch_id}")
        return self.batches[batch_id]

    def looked_at(self, batch_id: str) -> Batch:
        """The same, which moves on by that."""
        batch = self.batch(batch_id)
        batch.looks += 1
        return batch

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch that has not ended."""
        batch = self.batch(batch_id)
        if batch.phase in {"ended", "stopped"}:
            raise RefusedError(HTTPStatus.CONFLICT, f"batch {batch_id} has ended")
        batch.cancelled_at = batch.looks
        return batch

    def create(self, file_id: str, tags: Any) -> Batch:
        """Make a batch of a file, and bill its answers."""
        content = self.file(file_id).content
        if content is None:
            raise RefusedError(HTTPStatus.CONFLICT, f"file {file_id} has no content yet")
        lines = [json.loads(line) for line in content.split(b"\n") if line]
        good, bad = [], []
        for line in lines:
            words = self._complaint(line)
            made = {"message": words} if words else _completion(line["body"], len(self.batches))
            (bad if words else good).append(self.result_line(line["custom_id"], 400 if words else 200, made))
            if not words:
                self.billed[line["custom_id"]] += 1
        batch_id = self.new_id("b")
        output = self.store("answers.jsonl", _as_lines(good))
        errors = self.store("failures.jsonl", _as_lines(bad)) if bad else None
        batch = Batch(batch_id, file_id, tags, lines, output, errors)
        self.batches[batch.id] = batch
        self.created += 1
        return batch

    @staticmethod
    def _complaint(line: dict[str, Any]) -> str | None:
        body = line["body"]
        if not 0 <= body.get("temperature", 0) <= 2:
            return "temperature is out of range"
        return None if body["model"] == MODEL else f"no model {body['model']}"

    def models(self, call: Call) -> Reply:
        """The list of models, as all have it."""
        return Reply(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def chat(self, call: Call) -> Reply:
        """A chat, as all have it."""
        words = self._complaint({"body": call.json})
        if words:
            raise RefusedError(HTTPStatus.BAD_REQUEST, words)
        return Reply(200, _completion(call.json, 0))

    def signed_put(self, call: Call) -> Reply:
        """Bytes that come to the store."""
        file = self.files.get(call.found["id"])
        if file is None:
            return Reply(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", {"content-type": "application/xml"})
        file.content = call.body
        return Reply(200, b"")

    def signed_post(self, call: Call) -> Reply:
        """Bytes that come to the store as the last part of a form, as S3 takes them."""
        form = call.form
        if list(form)[-1] != "file" or form.get("x-amz-signature") != (None, b"s/g="):
            return Reply(403, b"<Error><Code>AccessDenied</Code></Error>", {"content-type": "application/xml"})
        self.files[form["key"][1].decode()].content = form["file"][1]
        return Reply(204, b"")

    def signed_get(self, call: Call) -> Reply:
        """Bytes that leave the store."""
        content = self.files[call.found["id"]].content
        return Reply(200, content, {"content-type": "binary/octet-stream"})

    def _ports(self) -> list[dict[tuple[str, str], Handler]]:
        own = {("GET", "/models"): self.models, ("POST", "/chat/completions"): self.chat} | self.routes()
        api = {(method, self.prefix + path): self._with_key(handler) for (method, path), handler in own.items()}
        store = {
            ("PUT", "/put/(?P<id>.+)"): self.signed_put,
            ("POST", "/post"): self.signed_post,
            ("GET", "/get/(?P<id>.+)"): self.signed_get,
        }
        return [api, {route: self._without_key(handler) for route, handler in store.items()}]

    def _with_key(self, handler: Handler) -> Handler:
        def checked(call: Call) -> Reply:
            name, value = self.key_header
            if call.headers.get(name) != value:
                return self.refusal(HTTPStatus.UNAUTHORIZED, "the key is not valid")
            try:
                return handler(call)
            except RefusedError as refused:
                return self.refusal(refused.status, str(refused))

        return checked

    def _without_key(self, handler: Handler) -> Handler:
        return lambda call: Reply(400, b"KEY LEAKED") if KEY in " ".join(call.headers.values()) else handler(call)

    def _handler(self, routes: Mapping[tuple[str, str], Handler]) -> type[BaseHTTPRequestHandler]:
        patterns = [(method, re.compile(path), handler) for (method, path), handler in routes.items()]
        invented = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self._read()
                url = urlsplit(self.path)
                with invented.lock:
                    before = invented.created
                    reply = self._reply(url.path, dict(parse_qsl(url.query)), body)
                    if invented.created > before and invented.drops:
                        invented.drops -= 1
                        self.close_connection = True
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                content = reply.encoded()
                head = [f"HTTP/1.1 {reply.status} Fine", f"content-length: {len(content)}"]
                headers = {"content-type": "application/json"} | dict(reply.headers)
                head += [f"{name}: {value}" for name, value in headers.items()]
                # In one piece: what waits for an acknowledgement waits for 40 ms.
                self.wfile.write("\r\n".join([*head, "", ""]).encode() + content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - as http.server calls them

            def _read(self) -> bytes:
                return self.rfile.read(int(self.headers.get("content-length", 0)))

            def _reply(self, path: str, query: dict[str, str], body: bytes) -> Reply:
                headers = {name.lower(): value for name, value in self.headers.items()}
                for method, pattern, handler in patterns:
                    match = pattern.fullmatch(path)
                    if match is not None and method == self.command:
                        found = {name: unquote(value) for name, value in match.groupdict().items()}
                        return handler(Call(method, path, query, headers, body, found))
                # As Kong has it.
                return Reply(404, {"message": "no Route matched with those values"})

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Answering


def answer_to(prompt: str) -> str:
    """What the model of these servers says to a prompt."""
    return f"{prompt[::-1]}!"


def _completion(body: dict[str, Any], number: int) -> dict[str, Any]:
    prompt = body["messages"][-1]["content"]
    text = answer_to(prompt)
    return {
        "id": f"cmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(text), "total_tokens": len(prompt + text)},
    }


def _as_lines(entries: list[dict[str, Any]]) -> bytes:
    # In another order than they were sent.
    return b"".join(json.dumps(entry, ensure_ascii=False).encode() + b"\n" for entry in reversed(entries))


def local_time(seconds: float) -> str:
    """A time at +7, without its offset."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds + 7 * 3600))
