"""Waiter: somebody who waits for a batch that a poller looks at."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from greennode_batch.api.polling.watch import Watch


class Waiter:
    """What is known of the batch, and a bell that rings when there is news."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Say that the watch has news."""
        self._bell.set()

    async def news(self, *, seconds: float) -> bool:
        """Wait for news, for so long at most; whether there are any."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        told = self._bell.is_set()
        self._bell.clear()
        return told
