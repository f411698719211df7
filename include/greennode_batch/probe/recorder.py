"""One exchange -> one file, without the key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
from upath import UPath

from greennode_batch.api.endpoint import ApiKey
from greennode_batch.api.error_body import decode
from greennode_batch.api.exchange import Call, Lost, Reply
from greennode_batch.staging.folders import local_path

MAX_BODY_CHARS = 4_000
_MASK = "***"
_SECRET_HEADER = re.compile(r"authorization|cookie|secret|api-?key|auth-token|access-token", re.IGNORECASE)
# A link to a result file may contain the right to read it.
_SIGNED = re.compile(r"(?i)([?&][^=&\s\"']*(?:sig|token|credential|key|secret)[^=&\s\"']*=)[^&\s\"']+")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")


class Recorder:
    """Writes exchanges to a folder, numbered in order."""

    def __init__(self, folder: UPath, key: ApiKey) -> None:
        self._folder = folder
        local = local_path(folder)
        if local is not None:
            local.mkdir(parents=True, exist_ok=True)
        self._key = key

    def clean(self, words: str) -> str:
        """The same text without the key and without the signatures of links."""
        return _SIGNED.sub(rf"\1{_MASK}", self._key.redact(words))

    def clean_json(self, value: Any) -> Any:
        """The same JSON without them."""
        return msgspec.json.decode(self.clean(msgspec.json.encode(value).decode()))

    def write(self, number: int, name: str, call: Call, request: Mapping[str, Any], outcome: Reply | Lost) -> str:
        """Write one exchange; returns the name of its file."""
        file_name = f"{number:02d}-{_NOT_IN_A_NAME.sub('-', name.lower()).strip('-')}.json"
        sent = b"".join(call.upload) if call.upload is not None else request.get("content") or b""
        record: dict[str, Any] = {
            "name": name,
            "request": {
                "method": request["method"],
                "url": self.clean(str(httpx.URL(request["url"], params=request.get("params")))),
                "headers": self._headers(request["headers"]),
                "body": self._body(sent),
            },
        }
        if isinstance(outcome, Lost):
            record["no_reply"] = self.clean(outcome.reason)
        else:
            record["reply"] = {
                "status": outcome.status,
                "headers": self._headers(outcome.headers),
                "body": self._body(outcome.body),
            }
        # Not synced to disk, unlike the state: a record that a power cut destroys costs nothing.
        (self._folder / file_name).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
        return file_name

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {
            self.clean(name): _MASK if _SECRET_HEADER.search(name) else self.clean(value)
            for name, value in headers.items()
        }

    def _body(self, body: bytes) -> Any:
        # First remove the key, then cut the text: half a key is a secret too.
        text = self.clean(body.decode("utf-8", "replace"))
        if len(text) > MAX_BODY_CHARS:
            return f"{text[:MAX_BODY_CHARS]}… ({len(text):,} characters in all)"
        data = decode(text.encode()) if text[:1] in {"{", "["} else None
        return text if data is None else data
