"""AsyncGreenNodeClient: what a trigger needs of the API, for Airflow's event loop, and live answers, many at once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import httpx
from msgspec import Raw

from greennode_batch.api.bounds import Body
from greennode_batch.api.connection import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_CONNECTIONS,
    Connection,
    lost,
    whole_reply,
)
from greennode_batch.api.exchange import Call, Loss, Lost, Operation, Reply, Wait, run
from greennode_batch.api.network import tls_context
from greennode_batch.api.paging import Pager
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.retries import MAX_TRIES
from greennode_batch.api.wire import Batch

log = logging.getLogger(__name__)

T = TypeVar("T")


class AsyncGreenNodeClient:
    """What a trigger needs: poll batches, list them, cancel one; and live answers. Options as for GreenNodeClient.

    max_connections: the most calls under way at a time; others wait for one of them to end.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        profile: ApiProfile | None = None,
        allow_http_hosts: Collection[str] = (),
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = Connection(
            base_url,
            api_key,
            profile=profile or ApiProfile(),
            allow_http_hosts=allow_http_hosts,
            timeout_seconds=timeout,
        )
        self._operations = self._connection.operations
        self._sleep = sleep
        self._transport = transport
        self._turns = asyncio.Semaphore(max_connections)
        self._idle: list[httpx.AsyncClient] = []

    def __repr__(self) -> str:
        return f"AsyncGreenNodeClient({self._connection!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def profile(self) -> ApiProfile:
        """The profile: the format of this client's requests."""
        return self._connection.profile

    async def aclose(self) -> None:
        """Close the connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def get_batch(self, batch_id: str, *, max_tries: int = MAX_TRIES) -> Batch:
        """The current state of a batch. max_tries: how often the call is tried if it fails."""
        return self._connection.note(await self._run(self._operations.get_batch(batch_id), max_tries))

    async def list_batches(self, *, limit: int = 100) -> AsyncIterator[Batch]:
        """Yield every batch; fetches the next page of `limit` entries when the caller needs it."""
        pager = self.batch_pages(limit)
        while not pager.ended:
            for batch in await self.read_page(pager):
                yield batch
        # A list that was cut short ends with an error.
        await self.read_page(pager)

    def batch_pages(self, limit: int = 100) -> Pager[Batch]:
        """The list of batches, for `read_page`. Raises ConfigError if the profile has no such list."""
        return self._operations.batches(limit)

    async def read_page(self, pager: Pager[Batch], *, max_tries: int = MAX_TRIES) -> list[Batch]:
        """The new entries of the next page; empty at the end. After an error, the same page is read again."""
        operation = pager.next_page()
        if operation is None:
            return []
        return [self._connection.note(batch) for batch in pager.take(await self._run(operation, max_tries))]

    async def cancel_batch(self, batch_id: str) -> Batch | None:
        """Request that a batch is cancelled; returns None in the same cases as GreenNodeClient.cancel_batch."""
        batch = await self._run(self._operations.cancel_batch(batch_id))
        return None if batch is None else self._connection.note(batch)

    @property
    def chat_seconds(self) -> float:
        """How long a live answer may take; then its request is given up."""
        return self._operations.chat_seconds

    async def chat_reply(self, custom_id: str, body: Raw) -> Reply:
        """The live answer to the body of a request line, as the server wrote it, at the full price. Never repeated."""
        return await self._run(self._operations.chat_reply(custom_id, body))

    async def _run(self, operation: Operation[T], max_tries: int = MAX_TRIES) -> T:
        steps = run(operation, self._connection.key.redact, max_tries=max_tries)
        outcome: Reply | Lost | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # typeshed has Any for the value of StopIteration
            if isinstance(step, Wait):
                log.warning("%s; trying again in %.1f s", step.reason, step.seconds)
                await self._sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step)

    @asynccontextmanager
    async def _one_connection(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of one connection, the one that was used last if there is any.

        A pool of httpx looks at all its connections whenever a call begins or ends, and asks the system about each that
        is idle: with 64 of them, that was half of the CPU of live answers.
        """
        async with self._turns:
            http = self._idle.pop() if self._idle else self._new_connection()
            try:
                yield http
            finally:
                self._idle.append(http)

    def _new_connection(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        return httpx.AsyncClient(transport=self._transport, verify=tls_context(), limits=limits)

    async def _send(self, call: Call) -> Reply | Lost:
        async with self._one_connection() as http:
            return await self._sent(http, call)

    async def _sent(self, http: httpx.AsyncClient, call: Call) -> Reply | Lost:
        try:
            async with (
                asyncio.timeout(call.deadline_seconds),
                http.stream(**self._connection.request(call)) as response,
            ):
                body = Body(response.headers)
                assert isinstance(response.stream, httpx.AsyncByteStream)
                async for chunk in response.stream:
                    complaint = body.take(chunk)
                    if complaint is not None:
                        return Lost(Loss.NO_REPLY, complaint)
                return whole_reply(response, body)
        except httpx.RequestError as error:
            return lost(error)
        except TimeoutError:
            return Lost(Loss.NO_REPLY, f"no whole reply within {call.deadline_seconds:.0f} s")
