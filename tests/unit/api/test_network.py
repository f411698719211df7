import asyncio
import ssl
import threading
import time
from pathlib import Path

import certifi
import pytest

from greennode_batch.api.client import AsyncGreenNodeClient, GreenNodeClient
from greennode_batch.errors import RetryableError

KEY = "sk-live-0123456789abcdef"


def drip(head, piece):
    """Writes the head, then a piece over and over until the other side has had enough."""

    def script(connection, request):
        connection.sendall(head)
        stopped = threading.Event()
        while not stopped.wait(0.02):
            connection.sendall(piece)

    return script


@pytest.mark.parametrize(
    "script",
    [
        drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-More: y\r\n"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["a header", "headers", "interim replies", "a body", "chunks"],
)
@pytest.mark.parametrize("what", ["look", "download"])
def test_a_reply_that_comes_a_byte_at_a_time_is_over_at_the_deadline_of_the_call(script, what, serve, tmp_path):
    server = serve(script)
    began = time.monotonic()
    with (
        GreenNodeClient(server.base_url, KEY, timeout=0.2, max_tries=1, sleep=lambda _: None) as client,
        pytest.raises(RetryableError, match=r"no whole reply|it is too slow|timed out"),
    ):
        client.get_batch("batch_1") if what == "look" else client.download_file("file-1", tmp_path / "out")
    assert time.monotonic() - began < 15


@pytest.fixture
def read(monkeypatch):
    """The files of certificates that were read."""
    files, create = [], ssl.create_default_context

    def create_default_context(**options):
        files.append(options["cafile"])
        return create(**options)

    monkeypatch.setattr(ssl, "create_default_context", create_default_context)
    return files


def test_a_process_reads_the_certificates_once_for_all_clients_and_proxies(read, tmp_path, monkeypatch):
    for name in ("one.pem", "two.pem"):
        (tmp_path / name).write_bytes(Path(certifi.where()).read_bytes())
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    for name in ("one.pem", "two.pem", "one.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
        for _ in range(2):
            GreenNodeClient("https://api.example/v1", KEY).close()
            asyncio.run(AsyncGreenNodeClient("https://api.example/v1", KEY).aclose())
    assert read == [str(tmp_path / "one.pem"), str(tmp_path / "two.pem")], "and again where another file is set"
