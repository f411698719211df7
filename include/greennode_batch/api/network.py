"""Network: sockets that keep to the deadline of a whole call and to the hosts that the connection may reach; TLS.

httpx's timeouts bound each read. A server that sends its headers byte by byte stays within them for hours; so each
read and write here gets no more time than is left for the call.
"""

import functools
import os
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from greennode_batch.api.reach import Reach

# A write is cut into pieces of this size, to check the deadline between them.
_WRITE_BYTES = 64 * 1024


class Deadline:
    """The time (`time.monotonic`) by which this thread's call must end. A download moves it on as bytes arrive."""

    def __init__(self, seconds: float) -> None:
        self.began = time.monotonic()
        self.seconds = seconds

    @property
    def left(self) -> float:
        """Seconds left; negative if the deadline has passed."""
        return self.began + self.seconds - time.monotonic()

    @property
    def has_passed(self) -> bool:
        """Whether the deadline has passed."""
        return self.left < 0


_current: ContextVar[Deadline | None] = ContextVar("greennode_batch_deadline", default=None)


@contextmanager
def until(deadline: Deadline) -> Iterator[Deadline]:
    """Inside, this thread's calls end at the deadline, whatever the server sends."""
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.reset(token)


def bounded(http: httpx.Client, reach: Reach) -> httpx.Client:
    """The same client, whose sockets keep to `until` and to the hosts that its connection may reach.

    A proxy makes the connection itself: for a proxy, only the host names of the requests are checked.
    """
    # httpx has no option for the network backend of its pools, and a transport made here would lose the environment's
    # proxies.
    for transport in (http._transport, *http._mounts.values()):  # noqa: SLF001
        if isinstance(transport, httpx.HTTPTransport):
            pool = transport._pool  # noqa: SLF001
            is_proxy = isinstance(pool, httpcore.HTTPProxy | httpcore.SOCKSProxy)
            pool._network_backend = _Backend(None if is_proxy else reach)  # noqa: SLF001
    return http


def tls_context() -> ssl.SSLContext:
    """The TLS context that all clients of this process share: reading the certificates takes 10 to 40 ms of CPU.

    SSL_CERT_FILE and SSL_CERT_DIR apply, as in httpx.
    """
    return _tls_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _tls_context(*_certificates: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _seconds(timeout: float | None, error: type[Exception]) -> float | None:
    deadline = _current.get()
    if deadline is None:
        return timeout
    left = deadline.left
    if left <= 0:
        raise error(f"no whole reply within {deadline.seconds:.0f} s")
    return left if timeout is None else min(timeout, left)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, reach: Reach | None) -> None:
        self._reach = reach
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            hosts = [host] if self._reach is None else self._reach.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        refusal: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in hosts:
            try:
                stream = self._inner.connect_tcp(
                    address,
                    port,
                    timeout=_seconds(timeout, httpcore.ConnectTimeout),
                    local_address=local_address,
                    socket_options=socket_options,
                )
                return _Stream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                refusal = error
        raise refusal

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout=_seconds(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):
            piece = buffer[start : start + _WRITE_BYTES]
            self._inner.write(piece, timeout=_seconds(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = _seconds(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname=server_hostname, timeout=seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
