"""A gateway in front of another server: it makes a batch of a rewritten copy of the file, and shows ids of its own."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
from tests.witness.invented_server import Call, Handler, InventedServer, RefusedError, Reply

_ID_FIELDS = ("id", "input_file_id", "output_file_id", "error_file_id")


class SwappingProxy(InventedServer):
    """Of an OpenAI-like server at `upstream`, with its key. It repeats no create, and keeps metadata."""

    def __init__(self, upstream: str, key: str) -> None:
        super().__init__()
        self.upstream = httpx.Client(
            base_url=upstream, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=30
        )
        self.copies: list[str] = []
        """The upstream's ids of the files that it made."""

    def routes(self) -> dict[tuple[str, str], Handler]:
        """What it answers; all but a create goes on as it came, with other ids."""
        one = "(?P<id>[^/]+)"
        passed = [
            ("GET", "/models"),
            ("POST", "/files"),
            ("GET", "/files"),
            ("GET", f"/files/{one}"),
            ("DELETE", f"/files/{one}"),
            ("GET", f"/files/{one}(?P<tail>/content)"),
            ("GET", "/batches"),
            ("GET", f"/batches/{one}"),
            ("DELETE", f"/batches/{one}"),
            ("POST", f"/batches/{one}(?P<tail>/cancel)"),
        ]
        return dict.fromkeys(passed, self.passed_on) | {("POST", "/batches"): self.create_from_copy}

    def refusal(self, status: int, words: str) -> Reply:
        """As OpenAI has it."""
        return Reply(status, {"error": {"message": words}})

    def passed_on(self, call: Call) -> Reply:
        """The upstream's answer, with its ids in the gateway's way."""
        path = call.path.removeprefix(self.prefix)
        if "id" in call.found:
            path = f"{path.split('/')[1]}/{_upstream_id(call.found['id'])}{call.found.get('tail') or ''}"
        query = {name: _upstream_id(value) if name == "after" else value for name, value in call.query.items()}
        kind = {"content-type": call.headers["content-type"]} if "content-type" in call.headers else {}
        return self._ask(call.method, path, params=query, content=call.body, headers=kind)

    def create_from_copy(self, call: Call) -> Reply:
        """A batch of the same lines, each written otherwise."""
        wanted = call.json
        lines = self.upstream.get(f"files/{_upstream_id(wanted['input_file_id'])}/content").content
        rewritten = b"".join(json.dumps(json.loads(line)).encode() + b"\n" for line in lines.split(b"\n") if line)
        form = {"file": ("copy-of-the-gateway.jsonl", rewritten)}
        copy = self.upstream.post("files", data={"purpose": "batch"}, files=form).json()["id"]
        self.copies.append(copy)
        reply = self._ask("POST", "batches", json={**wanted, "input_file_id": copy})
        self.created += reply.status < 300
        return reply

    def _ask(self, method: str, path: str, **options: Any) -> Reply:
        answer = self.upstream.request(method, path, **options)
        kind = {"content-type": answer.headers.get("content-type", "application/json")}
        if not answer.content or path.endswith("/content"):
            return Reply(answer.status_code, answer.content, kind)
        return Reply(answer.status_code, _with_own_ids(answer.json()), kind)


def _own_id(name: str) -> str:
    return "gw_" + base64.urlsafe_b64encode(f"eu-1/{name}".encode()).decode()


def _upstream_id(name: str) -> str:
    try:
        return base64.urlsafe_b64decode(name.removeprefix("gw_")).decode().partition("/")[2]
    except ValueError:
        raise RefusedError(404, f"no {name}") from None


def _with_own_ids(data: Any) -> Any:
    if isinstance(data, list):
        return [_with_own_ids(entry) for entry in data]
    if not isinstance(data, dict) or data.get("object") == "model":
        return data
    own = {name: _own_id(data[name]) for name in (*_ID_FIELDS, "last_id", "first_id") if data.get(name)}
    entries = {"data": _with_own_ids(data["data"])} if isinstance(data.get("data"), list) else {}
    return data | own | entries
