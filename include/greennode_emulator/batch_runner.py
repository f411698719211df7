"""Works on every unfinished batch, in a thread, while the event loop answers polls."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from greennode_emulator.batch_work import BatchWork, Shop
from greennode_emulator.records import TERMINAL

logger = logging.getLogger(__name__)

_PAGE = 100


class BatchRunner:
    """One asyncio task a batch; the work itself happens in one thread, step by step.

    With a model server upstream, a step of one batch waits for that server, and other batches wait with it.
    """

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Steps are short and take turns. A second thread would only compete for the interpreter:
        # measured, it costs a third more CPU.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emulator-batch")

    def resume(self) -> None:
        """Continue every batch that an earlier process left unfinished."""
        after, more = None, True
        while more:
            batches, more = self._shop.store.batches.newest(limit=_PAGE, after=after)
            for batch in batches:
                after = batch.id
                if batch.phase not in TERMINAL:
                    self.start(batch.id)

    def start(self, batch_id: str) -> None:
        """Start to work on a batch."""
        task = asyncio.get_running_loop().create_task(self._run(batch_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Let every batch finish its current step and no more; `start` works again afterwards."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        self._stopping.clear()

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        self._thread.shutdown()

    async def _run(self, batch_id: str) -> None:
        loop = asyncio.get_running_loop()
        work, clock = BatchWork(batch_id, self._shop), self._shop.settings.clock
        rest: float | None = 0.0
        while rest is not None and not self._stopping.is_set():
            try:
                rest = await loop.run_in_executor(self._thread, work.step, clock())
            except Exception as error:
                logger.exception("batch %s broke down", batch_id)
                work.fail(f"{type(error).__name__}: {error}", clock())
                return
            if rest:
                await self._rest(rest)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
