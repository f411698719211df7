"""The open connections by their two addresses, so that a fault can reset or hold the connection of a request."""

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Address = tuple[str, int | None]

# By the server's address too: one client port may be connected to two servers of this process at once.
_open: dict[tuple[Address, Address], "TrackedProtocol"] = {}


class TrackedProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, stored where the functions below find it. `ending`: do not wait for anything now."""

    ending: asyncio.Event

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection."""
        super().connection_made(transport)
        self.ending = asyncio.Event()
        if self.client is not None and self.server is not None:
            _open[self.client, self.server] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a call that is held on it need not continue."""
        if self.client is not None and self.server is not None:
            _open.pop((self.client, self.server), None)
        self.ending.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection; a call that is held on it would hold up the whole server."""
        self.ending.set()
        super().shutdown()


async def pause(scope: MutableMapping[str, Any], seconds: float | None = None) -> bool:
    """Hold a request for so long, or without end; less if its client disconnects or the server stops.

    Returns whether its client is still connected.
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
    # Linger for zero seconds: close() then sends RST.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def close_connection(scope: MutableMapping[str, Any]) -> None:
    """Close a request's TCP connection normally, once everything has been sent."""
    protocol = _open.get((scope["client"], scope["server"]))
    if protocol is not None:
        protocol.transport.close()
