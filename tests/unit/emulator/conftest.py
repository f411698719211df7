"""One served emulator for all tests of this folder, emptied before each."""

import json
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings

MODEL = "google/gemma-4-31b-it"
TERMINAL = {"completed", "failed", "cancelled"}


def make_body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def make_jsonl(bodies: dict[str, dict[str, Any]]) -> bytes:
    return b"".join(json.dumps({"custom_id": name, "body": body}).encode() + b"\n" for name, body in bodies.items())


class Caller:
    """Plain HTTP against one emulator."""

    def __init__(self, server: RunningEmulator) -> None:
        self.server = server
        self.http = httpx.Client(
            base_url=server.base_url,
            headers={"authorization": f"Bearer {server.api_key}"},
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # no certificates to load: they take 20 ms
            timeout=60,
        )

    def upload(self, content: bytes, purpose: str = "batch") -> httpx.Response:
        return self.http.post("/files", files={"file": ("in.jsonl", content)}, data={"purpose": purpose})

    def create(self, file_id: str, **more: Any) -> httpx.Response:
        wish = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            **more,
        }
        return self.http.post("/batches", json=wish)

    def start(self, content: bytes) -> str:
        return self.create(self.upload(content).json()["id"]).json()["id"]

    def wait(self, batch_id: str, statuses: set[str] = TERMINAL, within: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + within
        while True:
            batch = self.http.get(f"/batches/{batch_id}").json()
            if batch["status"] in statuses:
                return batch
            assert time.monotonic() < deadline, batch
            time.sleep(0.01)

    def run(self, content: bytes) -> dict[str, Any]:
        return self.wait(self.start(content))

    def lines(self, file_id: str) -> list[dict[str, Any]]:
        content = self.http.get(f"/files/{file_id}/content").content
        return [json.loads(line) for line in content.split(b"\n")[:-1]]


@pytest.fixture(scope="session")
def served() -> Iterator[RunningEmulator]:
    with running(Settings(batch_seconds=0.05)) as server:
        yield server


@pytest.fixture(scope="session")
def served_slowly() -> Iterator[RunningEmulator]:
    """Batches that stay in progress for as long as a test may want."""
    with running(Settings(batch_seconds=1.2)) as server:
        yield server


@pytest.fixture
def emulator(served: RunningEmulator) -> RunningEmulator:
    served.reset()
    return served


@pytest.fixture
def caller(emulator: RunningEmulator) -> Iterator[Caller]:
    caller = Caller(emulator)
    with caller.http:
        yield caller


@pytest.fixture
def slow_caller(served_slowly: RunningEmulator) -> Iterator[Caller]:
    served_slowly.reset()
    caller = Caller(served_slowly)
    with caller.http:
        yield caller


@pytest.fixture(scope="session")
def shared_sdk(served: RunningEmulator) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.base_url, api_key=served.api_key, max_retries=0)


@pytest.fixture
def sdk(emulator: RunningEmulator, shared_sdk: openai.OpenAI) -> openai.OpenAI:
    return shared_sdk


@pytest.fixture
def body():
    return make_body


@pytest.fixture
def jsonl():
    return make_jsonl
