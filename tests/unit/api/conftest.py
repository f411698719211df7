"""A server on loopback whose every connection follows a script: for what only a real socket shows."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

Script = Callable[[socket.socket, bytes], None]


class ScriptedServer:
    """Reads each request to its end, then lets the next script write and close; keeps what it read."""

    def __init__(self, scripts: list[Script], early: Script | None) -> None:
        self._scripts = iter(scripts)
        self._early = early
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        if self._early is not None:
            # Answers from the first bytes of a request, and closes with the rest of it unread.
            connection, _ = self._listener.accept()
            with connection:
                self._early(connection, connection.recv(1024))
        for script in self._scripts:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                request = _read_request(connection)
                self.requests.append(request)
                script(connection, request)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    parts = [body]
    left = length - len(body)
    while left > 0:
        parts.append(connection.recv(1 << 20))
        left -= len(parts[-1])
    return head + b"\r\n\r\n" + b"".join(parts)


def answer(
    status: int, body: bytes = b"", *, headers: dict[str, str] | None = None, length: int | None = None
) -> Script:
    """Write this reply, with `length` as its Content-Length, and close."""
    fields = {"Connection": "close", "Content-Length": str(len(body) if length is None else length), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)

    return script


def reset(connection: socket.socket, request: bytes) -> None:
    """Drop the connection with a reset, after the request was read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(*scripts: Script, early: Script | None = None) -> ScriptedServer:
        servers.append(ScriptedServer(list(scripts), early))
        return servers[-1]

    start.answer = answer  # type: ignore[attr-defined]
    start.reset = reset  # type: ignore[attr-defined]
    yield start
    for server in servers:
        server.close()
