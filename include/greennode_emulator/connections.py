"""The open connections by their two addresses, so that a fault can reset the one a request came over."""

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Address = tuple[str, int | None]

# By the server's address too: one client port may talk to two servers of this process at once.
_open: dict[tuple[Address, Address], asyncio.Transport] = {}


class TrackedProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, which also keeps its transport where `reset_connection` finds it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the transport."""
        super().connection_made(transport)
        if self.client is not None and self.server is not None:
            _open[self.client, self.server] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the transport."""
        if self.client is not None and self.server is not None:
            _open.pop((self.client, self.server), None)
        super().connection_lost(exc)


def reset_connection(scope: MutableMapping[str, Any]) -> None:
    """Close a request's TCP connection with RST; the client sees a reset, not an orderly end."""
    transport = _open[scope["client"], scope["server"]]
    connection = transport.get_extra_info("socket")
    # Linger on, for no time at all: close() then sends RST.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def close_connection(scope: MutableMapping[str, Any]) -> None:
    """Close a request's TCP connection in good order, once everything that was sent has left."""
    _open[scope["client"], scope["server"]].close()
