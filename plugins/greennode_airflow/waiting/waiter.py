"""Waiter: waits for a batch that a poller polls."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from greennode_batch.api.polling.watch import Watch


class Waiter:
    """The state of the batch, and an event that is set when there is news."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Report that the watch has news."""
        self._bell.set()

    async def news(self, *, seconds: float) -> bool:
        """Wait for news, for so long at most; returns whether there is any."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        told = self._bell.is_set()
        self._bell.clear()
        return told
