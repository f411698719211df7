"""One served emulator for all tests of this folder, emptied before each."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any, TypeVar

import httpx
import openai
import pytest

from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings

MODEL = "google/gemma-4-31b-it"
TERMINAL = {"completed", "failed", "cancelled"}
# Of the clock of `timed`: a tenth of them validates, the last tenth finalizes.
BATCH_SECONDS = 0.2

T = TypeVar("T")


def make_body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def make_jsonl(bodies: dict[str, dict[str, Any]]) -> bytes:
    return b"".join(json.dumps({"custom_id": name, "body": body}).encode() + b"\n" for name, body in bodies.items())


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def wait_for(ready: Callable[[], T]) -> T:
    """What `ready` gives once that is true. The deadline is for a server that is broken, not for one that is slow."""
    deadline = time.monotonic() + 120
    while not (found := ready()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


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

    def wait(self, batch_id: str, statuses: set[str] = TERMINAL, completed: int | None = None) -> dict[str, Any]:
        """The batch, once it has one of the statuses and, if asked for, so many completed requests."""

        def ready() -> dict[str, Any] | None:
            batch = self.http.get(f"/batches/{batch_id}").json()
            done = completed is None or batch["request_counts"]["completed"] == completed
            return batch if done and batch["status"] in statuses else None

        batch = wait_for(ready)
        assert batch is not None
        return batch

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
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def served_by_the_clock(clock: Clock) -> Iterator[RunningEmulator]:
    with running(Settings(batch_seconds=BATCH_SECONDS, clock=clock)) as server:
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
def timed(served_by_the_clock: RunningEmulator) -> Iterator[Caller]:
    """A caller of an emulator for which time passes only by `clock`: 0.2 seconds from a batch's creation to its end."""
    served_by_the_clock.reset()
    caller = Caller(served_by_the_clock)
    with caller.http:
        yield caller


@pytest.fixture
def until() -> Callable[[Callable[[], T]], T]:
    return wait_for


@pytest.fixture
def begin() -> Iterator[Callable[..., HTTPConnection]]:
    """Sends a request and leaves its reply alone: the connection, for a test to read from or to close."""
    with ExitStack() as stack:

        def send(http: httpx.Client, method: str, path: str, **content: Any) -> HTTPConnection:
            request = http.build_request(method, path, **content)
            connection = HTTPConnection(request.url.host, request.url.port or 80, timeout=120)
            stack.callback(connection.close)
            connection.request(method, request.url.raw_path.decode(), request.read(), dict(request.headers))
            return connection

        yield send


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
