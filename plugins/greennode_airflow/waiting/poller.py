"""Poller: one loop for each connection and event loop polls all the batches that triggers wait for."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from greennode_airflow.observability.metric_events import poll_timed
from greennode_airflow.waiting.per_loop import PerLoop
from greennode_airflow.waiting.shared_client import SharedClient, shared_client
from greennode_airflow.waiting.waiter import Waiter
from greennode_batch.api.client import AsyncGreenNodeClient
from greennode_batch.api.paging import Pager
from greennode_batch.api.polling.poll_schedule import NO_LIST_SECONDS, PollSchedule, Walk
from greennode_batch.api.polling.rate_limiter import RateLimiter
from greennode_batch.api.polling.watch import Watch
from greennode_batch.api.wire import Batch
from greennode_batch.errors import ApiError, AuthError, CreditError, GreenNodeError, RetryableError

log = logging.getLogger(__name__)

CALLS_PER_SECOND = 1.8
"""The calls that a connection may make on average, however many batches wait; then polls are later than due."""
# Some dozens of young batches are polled as often as their age requires, even if the API has no list.
_BURST_CALLS = 600.0
_PAGE_PAUSES_SECONDS = (1.0, 3.0)
_LIST_FAILED_SECONDS = 60.0
_RESTART_SECONDS = 5.0
_MIN_TICK_SECONDS = 0.05
# The cost of a tick grows with the batches; this keeps it below some percent of the time.
_TICK_SECONDS_A_BATCH = 5e-5


class Poller:
    """Polls batches for all waiters, by pages of the list if that takes fewer calls than single polls.

    It works as long as there are waiters. A failed poll ends no wait, nor does an error in this code.
    """

    def __init__(self, greennode_conn_id: str) -> None:
        self._conn_id = greennode_conn_id
        self._watches = PollSchedule()
        self._waiters: dict[Watch, Waiter] = {}
        self._wake = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._turns = asyncio.Lock()
        self._budget = RateLimiter(per_second=CALLS_PER_SECOND, burst=_BURST_CALLS, now=time.monotonic())

    @classmethod
    def of(cls, greennode_conn_id: str) -> Poller:
        """The poller of a connection in the running event loop."""
        return _pollers.get().setdefault(greennode_conn_id, cls(greennode_conn_id))

    @contextmanager
    def waiting(self, batch_id: str, *, deadline: float) -> Iterator[Waiter]:
        """Poll a batch until the context is left; deadline: epoch seconds."""
        watch = Watch(batch_id, deadline=deadline, now=time.time())
        waiter = self._waiters[watch] = Waiter(watch)
        self._watches.add(watch)
        self._wake.set()
        self._start()
        try:
            yield waiter
        finally:
            self._watches.remove(watch)
            del self._waiters[watch]
            self._wake.set()

    def _start(self) -> None:
        if self._watches and (self._work is None or self._work.done()):
            # In a separate context: in the present one, log lines would go to the task of the first waiter.
            self._work = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())
            # A waiter may come while it ends.
            self._work.add_done_callback(lambda work: None if work.cancelled() else self._start())

    async def _run(self) -> None:
        async with shared_client(self._conn_id) as shared:
            while self._watches:
                try:
                    await self._poll(shared)
                except Exception as error:
                    log.exception("The poller of connection %s failed, and starts again", self._conn_id)
                    failure = GreenNodeError(f"the poller failed and starts again ({error!r})")
                    self._tell(self._watches.all_failed(failure, now=time.time()))
                    await asyncio.sleep(_RESTART_SECONDS)

    async def _poll(self, shared: SharedClient) -> None:
        """Make the polls that are due, again and again, until there are no waiters."""
        async with asyncio.TaskGroup() as calls:
            under_way: set[asyncio.Task[None]] = set()
            while self._watches:
                self._wake.clear()
                polls = self._watches.begin(time.time())
                work = [self._ask(shared, batch_id) for batch_id in polls.single]
                if polls.walk is not None:
                    work.append(self._read_list(shared, polls.walk))
                for one in work:
                    task = calls.create_task(one)
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                await self._until_due()
            for task in under_way:
                task.cancel()

    async def _until_due(self) -> None:
        """Sleep until a poll is due, a waiter comes or a call is over; at least one tick."""
        await asyncio.sleep(_MIN_TICK_SECONDS + len(self._watches) * _TICK_SECONDS_A_BATCH)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._watches.seconds_until_due(time.time())):
                await self._wake.wait()

    async def _ask(self, shared: SharedClient, batch_id: str) -> None:
        """Poll one batch singly."""
        try:
            await self._turn()
            client = await shared.get()
            with poll_timed(self._conn_id, "get"):
                batch = await client.get_batch(batch_id, max_tries=1)
        except GreenNodeError as error:
            self._note(shared, error)
            self._tell(self._watches.failed(batch_id, error, now=time.time()))
        else:
            self._tell(self._watches.seen(batch_id, batch, now=time.time()))
        self._wake.set()

    async def _read_list(self, shared: SharedClient, walk: Walk) -> None:
        """Read as many pages of the list as pay off."""
        try:
            client = await shared.get()
            if not client.profile.can_list_batches:
                self._watches.leave_list(NO_LIST_SECONDS, now=time.time())
                return
            pager = client.batch_pages()
            while self._watches.is_worth_reading(walk, time.time()) and not pager.ended:
                batches = await self._page(shared, client, pager)
                self._tell(self._watches.listed(walk, batches, now=time.time()))
                self._wake.set()
            if pager.ended:
                self._watches.end_of_list(walk, now=time.time())
        except GreenNodeError as error:
            log.warning("Connection %s: no list of batches, polling each one singly: %s", self._conn_id, error)
            self._note(shared, error)
            passing = not isinstance(error, ApiError) or isinstance(error, RetryableError | AuthError | CreditError)
            self._watches.leave_list(_LIST_FAILED_SECONDS if passing else NO_LIST_SECONDS, now=time.time())
        finally:
            self._watches.end_walk(walk)
            self._wake.set()

    async def _page(self, shared: SharedClient, client: AsyncGreenNodeClient, pager: Pager[Batch]) -> list[Batch]:
        """The next page. While that fails, batches are polled one by one."""
        for pause in _PAGE_PAUSES_SECONDS:
            await self._turn()
            try:
                with poll_timed(self._conn_id, "list"):
                    return await client.read_page(pager, max_tries=1)
            except RetryableError as error:
                self._note(shared, error)
                self._watches.leave_list(_LIST_FAILED_SECONDS, now=time.time())
                self._wake.set()
            await asyncio.sleep(pause)
        await self._turn()
        with poll_timed(self._conn_id, "list"):
            return await client.read_page(pager, max_tries=1)

    async def _turn(self) -> None:
        """Wait until one more call may be made; first come, first served."""
        async with self._turns:
            # A pause may begin while this waits.
            while (seconds := self._budget.seconds_until_next(time.monotonic())) > 0:  # noqa: ASYNC110
                await asyncio.sleep(seconds)
            self._budget.take(time.monotonic())

    def _note(self, shared: SharedClient, error: GreenNodeError) -> None:
        """Do what a failed call requires for all: a pause, or a new key."""
        if isinstance(error, ApiError):
            shared.note(error)
            if error.retry_after:
                self._budget.hold(error.retry_after, time.monotonic())

    def _tell(self, watches: Collection[Watch]) -> None:
        for watch in watches:
            self._waiters[watch].ring()


_pollers: PerLoop[dict[str, Poller]] = PerLoop(dict)
