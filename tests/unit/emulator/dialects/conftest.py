"""A served emulator for each dialect, emptied before each test."""

import ssl
from contextlib import ExitStack

import httpx
import pytest

from greennode_emulator.server import running
from greennode_emulator.settings import Settings


@pytest.fixture(scope="session")
def servers():
    with ExitStack() as stack:
        started = {}

        def server(dialect):
            if dialect not in started:
                started[dialect] = stack.enter_context(running(Settings(dialect=dialect, batch_seconds=0.1)))
            return started[dialect]

        yield server


@pytest.fixture
def connect():
    """An HTTP client for a server."""
    with ExitStack() as clients:

        def client(server):
            http = httpx.Client(
                base_url=server.base_url,
                headers={"authorization": f"Bearer {server.api_key}"},
                trust_env=False,
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # no certificates to load: they take 20 ms
                timeout=60,
            )
            return clients.enter_context(http)

        yield client


@pytest.fixture
def speak(servers, connect):
    """An HTTP client for a dialect, and its server."""

    def speak(dialect):
        server = servers(dialect)
        server.reset()
        return connect(server), server

    return speak


@pytest.fixture
def unknown(connect, clock):
    """The same for the invented dialect, with a server for which time passes only by `clock`."""
    with running(Settings(dialect="unknown", batch_seconds=0.1, clock=clock)) as server:
        yield connect(server), server
