"""The open connections by their two addresses, so that a fault can reset or hold the one a request came over."""

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Address = tuple[str, int | None]

# By the server's address too: one client port may talk to two servers of this process at once.
_open: dict[tuple[Address, Address], "TrackedProtocol"] = {}


class TrackedProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, kept where the functions below find it. `ending`: nothing is worth waiting for now."""

    ending: asyncio.Event

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection."""
        super().connection_made(transport)
        self.ending = asyncio.Event()
        if self.client is not None and self.server is not None:
            _open[self.client, self.server] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a call that is held on it need not go on."""
        if self.client is not None and self.server is not None:
            _open.pop((self.client, self.server), None)
        self.ending.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection; a call that is held on it would hold up the whole server."""
        self.ending.set()
        super().shutdown()


async def pause(scope: MutableMapping[str, Any], seconds: float | None = None) -> bool:
    """Hold a request for so long, or without end; less where its client goes away or the server stops.

    Whether its client is still there.
    """
    addresses = scope["client"], scope["server"]
    protocol = _open.get(addresses)
    if protocol is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await protocol.ending.wait()
    return _open.get(addresses) is protocol is not None


def reset_connection(scope: MutableMapping[str, Any]) -> None:
    """Close a request's TCP connection with RST; the client sees a reset, not an orderly end."""
    transport = _open[scope["client"], scope["server"]].transport
    connection = transport.get_extra_info("socket")
    # Linger on, for no time at all: close() then sends RST.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def close_connection(scope: MutableMapping[str, Any]) -> None:
    """Close a request's TCP connection in good order, once everything that was sent has left."""
    protocol = _open.get((scope["client"], scope["server"]))
    if protocol is not None:
        protocol.transport.close()
