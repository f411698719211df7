"""SharedClient: one client of a connection for all triggers of an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from greennode_airflow.hooks import GreenNodeHook, client_arguments
from greennode_airflow.waiting.per_loop import PerLoop
from greennode_batch.api.client import AsyncGreenNodeClient
from greennode_batch.errors import ApiError, ConfigError

CANCELS_AT_ONCE = 12
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN})
# To resolve a connection may cost a call to a secrets backend.
_RESOLVE_SECONDS = 30.0


class SharedClient:
    """Resolves the connection once, and again after the API has denied access, because the key may have changed.

    cancels: how many cancels may be under way at a time.
    """

    def __init__(self, greennode_conn_id: str) -> None:
        self.cancels = asyncio.Semaphore(CANCELS_AT_ONCE)
        self.users = 0
        self._hook = GreenNodeHook(greennode_conn_id)
        self._resolving = asyncio.Lock()
        self._resolved_anew_at = float("-inf")
        self._denied = False
        self._arguments: dict[str, Any] = {}
        self._client: AsyncGreenNodeClient | None = None
        # Clients with old keys: calls may still be under way with them.
        self._retired: list[AsyncGreenNodeClient] = []

    async def get(self) -> AsyncGreenNodeClient:
        """The client. Raises ConfigError if the connection cannot be resolved, or cannot work."""
        async with self._resolving:
            if self._client is None:
                self._client = await self._resolve()
            elif self._denied and time.monotonic() - self._resolved_anew_at >= _RESOLVE_SECONDS:
                self._resolved_anew_at = time.monotonic()
                self._client = await self._resolve()
                self._denied = False
            return self._client

    def note(self, error: ApiError) -> None:
        """Have the connection resolved again after the API has denied access, but not each time."""
        self._denied = self._denied or error.status in _DENIED

    async def aclose(self) -> None:
        """Close all connections."""
        for client in (*self._retired, self._client):
            if client is not None:
                await client.aclose()

    async def _resolve(self) -> AsyncGreenNodeClient:
        try:
            arguments = client_arguments(await self._hook.aget_connection(self._hook.greennode_conn_id))
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"connection {self._hook.greennode_conn_id!r} cannot be resolved: {error}") from error
        if self._client is not None:
            if arguments == self._arguments:
                return self._client
            self._retired.append(self._client)
        self._arguments = arguments
        # The TLS context alone would block the loop for some hundredths of a second.
        return await asyncio.to_thread(AsyncGreenNodeClient, **arguments)


_shared: PerLoop[dict[str, SharedClient]] = PerLoop(dict)


@asynccontextmanager
async def shared_client(greennode_conn_id: str) -> AsyncIterator[SharedClient]:
    """The connection's client in this event loop; the last user to leave closes it."""
    of_loop = _shared.get()
    shared = of_loop.setdefault(greennode_conn_id, SharedClient(greennode_conn_id))
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if not shared.users:
            del of_loop[greennode_conn_id]
            await shared.aclose()
