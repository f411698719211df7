"""Serve an emulator: in this thread, or in a background thread for tests."""

import secrets
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import httpx
import uvicorn

from greennode_emulator.core import Emulator
from greennode_emulator.emulator_app import create_app
from greennode_emulator.open_connections import TrackedProtocol
from greennode_emulator.settings import Settings

_START_SECONDS = 60


@dataclass(frozen=True)
class RunningEmulator:
    """A running emulator, as tests use it. `base_url` ends with the dialect's prefix, `/v1`."""

    root_url: str
    base_url: str
    api_key: str = field(repr=False)

    def ledger(self, *, summary: bool = False) -> dict[str, Any]:
        """What was called and billed."""
        reply: dict[str, Any] = self._control("GET", "ledger", params={"summary": int(summary)})
        return reply

    def faults(self, faults: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Arm faults, as `[{"endpoint": "POST /batches", "kind": "reset_after"}]`; returns all that are armed."""
        armed: list[dict[str, Any]] = self._control("POST", "faults", json=list(faults))
        return armed

    def disarm(self) -> None:
        """Disarm all faults that have not struck yet."""
        self._control("DELETE", "faults")

    def armed(self) -> list[dict[str, Any]]:
        """The faults that have not struck yet."""
        armed: list[dict[str, Any]] = self._control("GET", "faults")
        return armed

    def reset(self) -> None:
        """Forget files, batches, bills and faults."""
        self._control("POST", "reset")

    def _control(self, method: str, name: str, **options: Any) -> Any:
        # This is loopback: no proxy settings from the environment, and no certificates, which take 20 ms to load.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with httpx.Client(trust_env=False, verify=tls, timeout=30) as client:
            reply = client.request(method, f"{self.root_url}/_emulator/{name}", **options)
        if reply.is_error:
            raise ValueError(f"{method} {name}: {reply.text}")
        return reply.json()


class Listeners:
    """The sockets to serve on: the API's, and a second origin for files."""

    def __init__(self, settings: Settings) -> None:
        with ExitStack() as stack:
            self.main = stack.enter_context(_listen(settings.host, settings.port))
            self.storage = stack.enter_context(_listen(settings.host, settings.storage_port))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """There is nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._stack.close()

    @property
    def sockets(self) -> list[socket.socket]:
        """All of them."""
        return [self.main, self.storage]


def listen(settings: Settings) -> Listeners:
    """The sockets to serve on, opened now so that a busy port shows first; raises OSError if a port is busy."""
    return Listeners(settings)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


def describe(emulator: Emulator, listeners: Listeners) -> RunningEmulator:
    """The addresses and the key of a server."""
    host, port = listeners.main.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    root_url = f"http://{shown}:{port}"
    return RunningEmulator(root_url, root_url + emulator.dialect.prefix, emulator.settings.api_keys[0])


@contextmanager
def prepared(settings: Settings, listeners: Listeners) -> Iterator[Emulator]:
    """An emulator with a key and a state folder; by default a generated key and a temporary folder."""
    if not settings.api_keys:
        settings = replace(settings, api_keys=(secrets.token_urlsafe(24),))
    with ExitStack() as stack:
        state = settings.state
        if state is None:
            scratch = tempfile.TemporaryDirectory(prefix="greennode-emulator-", ignore_cleanup_errors=True)
            state = Path(stack.enter_context(scratch))
        emulator = Emulator(settings, state=state)
        emulator.storage.port = listeners.storage.getsockname()[1]
        yield emulator


def make_server(emulator: Emulator) -> uvicorn.Server:
    """A server without logs, whose connections can be reset."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(emulator),
            http=TrackedProtocol,
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
    )


@contextmanager
def running(settings: Settings | None = None) -> Iterator[RunningEmulator]:
    """Serve in a background thread until the block ends."""
    settings = settings or Settings()
    with listen(settings) as listeners, prepared(settings, listeners) as emulator:
        server = make_server(emulator)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": listeners.sockets}, name="emulator", daemon=True
        )
        thread.start()
        try:
            _wait_until(lambda: server.started or not thread.is_alive())
            if not server.started:
                raise RuntimeError("the emulator did not start; its log says why")
            yield describe(emulator, listeners)
        finally:
            server.should_exit = True
            thread.join()


def _wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the emulator did not start within {_START_SECONDS} s")
        time.sleep(0.002)
