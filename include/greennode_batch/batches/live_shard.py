"""Live: a shard's requests are answered now, one by one, through chat completions, without a batch.

    claim ─► requests.jsonl ─► many requests at once ─► segments of whole lines ─► receipt answered ─► output.jsonl

A segment holds at most 64 answers and lands at least every second. In flight are the requests without a reply and the
answers that are not saved yet. Both are bounded, and after a kill no more than these are paid again. Any worker can go
on where another one stopped: a request that a segment settles is not sent again.

A reply that is lost (a reset, a timeout, a 5xx) may have been billed. Its request is sent again, and counted.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import os
import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn, Protocol

import msgspec

from greennode_batch.api.async_client import AsyncGreenNodeClient
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.exchange import Reply
from greennode_batch.api.results.result_lines import iter_lines
from greennode_batch.api.retries import used_up_seconds
from greennode_batch.api.wire import BatchStatus
from greennode_batch.batches.live_pace import LiveLimits, Pace, Sent
from greennode_batch.batches.stopped import refuse_stopped
from greennode_batch.errors import (
    AmbiguousError,
    ApiError,
    AuthError,
    BusyError,
    ConfigError,
    CreditError,
    NotFoundError,
    RetryableError,
)
from greennode_batch.staging.folders import ShardFolder, local_copy
from greennode_batch.state.live_answers import LiveAnswers, LiveFolder, LiveHold, LiveProgress, lost_line
from greennode_batch.state.receipts import (
    Claim,
    EndedBatch,
    NumberedClaim,
    OvertakenError,
    Receipt,
    latest_claim,
    live_claims,
    read_receipt,
    take_claim,
    write_receipt,
)
from greennode_batch.state.withdrawn import is_withdrawn

log = logging.getLogger(__name__)

SEGMENT_ANSWERS = 64
SEGMENT_SECONDS = 1.0
# While the store is slow, so many answers may wait to be saved.
_MAX_UNSAVED = 2 * SEGMENT_ANSWERS
_TRIES = 5
_MAX_PAUSE_SECONDS = 60.0
# How long a worker that must stop waits for its open requests, and how long its successor waits for that worker.
_DRAIN_SECONDS = 5.0
_FOLLOW_SECONDS = 10.0
_POLL_SECONDS = 0.25
# How long a server may refuse or lose every request before the worker gives up.
_OUTAGE_SECONDS = 300.0
# A server has stopped if it answers nothing for ten times as long as its slowest answer took, and for a minute.
_STALL_FACTOR = 10.0
_STALL_SECONDS = 60.0
_SHARE_SECONDS = 15.0
# For the page: how often it is noted how far the answering is.
_NOTE_SECONDS = 5.0
_CHARACTERS_PER_TOKEN = 4
_REFUSED_UNREAD = frozenset({HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Share(Protocol):
    """Counts the workers that share the limits of a connection."""

    def __call__(self) -> int:
        """Register this worker, and return how many there are."""

    def leave(self) -> None:
        """Take this worker off the list."""


def unseen(_settled: int) -> None:
    """Show no progress."""


def answer_live(
    shard: ShardFolder,
    client: GreenNodeClient,
    *,
    limits: LiveLimits | None = None,
    not_after: float | None = None,
    share: Share | None = None,
    stop: threading.Event | None = None,
    seen: Callable[[int], None] = unseen,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Receipt:
    """Answer every request of the shard live, and return its receipt. Safe to call again after any end.

    not_after: epoch seconds when the answering ends; what has no answer then is `expired`. share: who shares the limits
    a minute. stop: ends the answering within a second, from another thread; SIGTERM and Ctrl-C do the same. seen: gets
    the number of settled requests. Returns the receipt of a batch if the shard has one.

    Raises AuthError and CreditError if the key or the credit is refused, ConfigError if it has no chat,
    BusyError while the server has no capacity,
    RetryableError if it does not answer any more, or on `stop`. Everything that came is saved, also then.
    """
    refuse_stopped(shard)
    folder, receipt = LiveFolder(shard), read_receipt(shard)
    if receipt is None or not receipt.is_through:
        limits = limits or LiveLimits()
        mine = _take(shard, folder, receipt, at_stake=limits.max_concurrency + _MAX_UNSAVED, clock=clock, sleep=sleep)
        settled, lost = folder.settled()
        pace = Pace(limits, clock())
        if share is not None:
            pace.share(share(), clock())
        with local_copy(shard.requests) as path, path.open("rb") as lines:
            answering = _Answering(
                shard=shard,
                folder=folder,
                claim=mine.number,
                requests=_unsettled(iter_lines(lines), settled),
                client=client.for_live_answers(limits.max_concurrency),
                host=client.host,
                pace=pace,
                not_after=math.inf if not_after is None else not_after,
                share=share,
                seen=seen,
                clock=clock,
                settled=len(settled),
                counts_tokens=limits.max_tokens_per_minute is not None,
            )
            _in_thread(answering, stop)
        receipt = _done(answering, receipt, mine, lost=lost + answering.lost)
    if receipt.live is not None and not shard.output.exists():
        folder.put_together()
    return receipt


def _take(
    shard: ShardFolder,
    folder: LiveFolder,
    receipt: Receipt | None,
    *,
    at_stake: int,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> NumberedClaim:
    """Claim the shard, and wait until the worker that answered it before has stopped."""
    if not shard.requests.exists():
        raise ConfigError(
            f"{shard.requests}: no such file, so nothing was sent; a shard is a folder with a requests.jsonl"
        )
    while True:
        last = latest_claim(shard)
        if last is not None and is_withdrawn(shard, last.claim):
            raise ConfigError(
                f"shard {shard.shard_id} was withdrawn: its run was built again without it. Nothing was sent. "
                "Clear build_requests and what follows it"
            )
        if last is not None and last.claim.live is None and not last.claim.released:
            raise RetryableError(
                f"shard {shard.shard_id} is being sent as a batch, or may be: it is not answered live as well"
            )
        token = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        file_id = receipt.file_id if receipt is not None else ""
        claim = Claim(token=token, file_id=file_id, claimed_at=clock(), live=LiveHold(at_stake))
        mine = NumberedClaim(last.number + 1 if last else 1, claim)
        if take_claim(shard, mine):
            break
    until = clock() + _FOLLOW_SECONDS
    while last is not None and last.claim.live is not None and clock() < until:
        # The worker before stops once it sees this claim; one that was killed says nothing any more.
        if folder.ended(last.number) is not None or _is_dead(last.claim.token):
            break
        sleep(_POLL_SECONDS)
    return mine


def _is_dead(token: str) -> bool:
    """Whether the process that made a claim has ended. Known only of processes on this machine."""
    host, pid, _ = token.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    if int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _done(answering: _Answering, receipt: Receipt | None, mine: NumberedClaim, *, lost: int) -> Receipt:
    """Write the receipt of a shard that is answered. receipt: the one before. lost: the lost replies of all workers."""
    shard, now = answering.shard, answering.clock()
    requests = answering.settled + answering.unsettled
    ends = [(hold.at_stake, answering.folder.ended(number)) for number, hold in live_claims(shard).items()]
    in_flight = sum(min(requests, at_stake if ended is None else ended.in_flight) for at_stake, ended in ends)
    status = BatchStatus.EXPIRED if answering.unsettled else BatchStatus.COMPLETED
    words = "expired at the run's deadline" if answering.unsettled else "answered live"
    made = msgspec.structs.replace(
        receipt or Receipt(shard_id=shard.shard_id, state="answered", file_id=""),
        state="answered",
        server=answering.host,
        claim=mine.number,
        created_at=mine.claim.claimed_at,
        ended=EndedBatch(status.name, words, completed_at=now),
        live=LiveAnswers(
            requests=requests,
            answered=answering.settled,
            began_at=mine.claim.claimed_at,
            ended_at=now,
            lost=lost,
            in_flight=in_flight,
        ),
    )
    return write_receipt(shard, made)


class _Request(msgspec.Struct):
    """A request line; tries: how often it was sent and its reply lost."""

    custom_id: str
    body: msgspec.Raw
    tries: int = 0

    @property
    def tokens(self) -> float:
        return len(bytes(self.body)) / _CHARACTERS_PER_TOKEN


def _unsettled(lines: Iterator[bytes], settled: set[str]) -> Iterator[_Request]:
    decode = msgspec.json.Decoder(_Request).decode
    return (request for line in lines if (request := decode(line)).custom_id not in settled)


@dataclass(kw_only=True)
class _Answering:
    """The requests of one shard on their way, in one event loop.

    Holds the requests that are under way or wait for another try, and the answers that are not saved yet.
    """

    shard: ShardFolder
    folder: LiveFolder
    claim: int
    requests: Iterator[_Request]
    client: AsyncGreenNodeClient
    host: str
    pace: Pace
    not_after: float
    share: Share | None
    seen: Callable[[int], None]
    clock: Callable[[], float]
    settled: int
    counts_tokens: bool
    lost: int = 0
    unsettled: int = 0
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    again: list[tuple[float, int, _Request]] = field(default_factory=list)
    unsaved: list[bytes] = field(default_factory=list)
    error: BaseException | None = None
    is_stopped: bool = False
    is_closing: bool = False

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._good_at = self._busy_since = self._checked_at = self._shared_at = self._began_at = self.clock()
        self._noted_at, self._began_with = -math.inf, self.settled
        self._next: _Request | None = next(self.requests, None)

    def stop(self) -> None:
        """End within a second, from any thread."""
        self.is_stopped = True
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it is closed already
                loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Answer until everything is settled, the deadline has come, or something stops it. Saves all answers."""
        self._loop = asyncio.get_running_loop()
        saver = asyncio.create_task(self._save_as_they_come())
        try:
            async with self.client:
                while not self._is_over():
                    await self._woken(self._send_what_may_be_sent())
                in_flight = await self._cut()
        finally:
            self.is_closing = True
            self._full.set()
            await saver
        await self._save()
        await asyncio.to_thread(self.folder.end, self.claim, in_flight)
        if self.share is not None:
            await asyncio.to_thread(self.share.leave)
        if self.error is not None:
            raise self.error
        if self.is_stopped and (in_flight or self._is_open):
            raise RetryableError(
                f"shard {self.shard.shard_id}: answering was stopped; {self.settled:,} answers are saved, and it goes "
                "on there when it is started again"
            )
        self.unsettled = len(self.again) + in_flight + (self._next is not None) + sum(1 for _ in self.requests)

    @property
    def _is_open(self) -> bool:
        """Whether there is anything left to answer."""
        return bool(self._next is not None or self.again or self.under_way)

    def _is_over(self) -> bool:
        if self.error is not None or self.is_stopped or not self._is_open:
            return True
        now = self.clock()
        # A request whose answer would come too late is not sent, and paid for, at all.
        return now >= self.not_after or (not self.under_way and self._is_late(now))

    def _is_late(self, now: float) -> bool:
        return now + (self.pace.latency or 0.0) > self.not_after

    def _send_what_may_be_sent(self) -> float:
        """Send as many requests as the pace allows, and return how many seconds to wait for the next event."""
        while True:
            now = self.clock()
            left = min(SEGMENT_SECONDS, self.not_after - now)
            if len(self.unsaved) >= _MAX_UNSAVED or self._is_late(now):
                return left
            due = self.again[0][0] - now if self.again else math.inf
            if due > 0 and self._next is None:
                return min(left, due)
            first = self.again[0][2] if due <= 0 else self._next
            assert first is not None
            wait = self.pace.seconds_until_next(len(self.under_way), now, first.tokens)
            if wait is None:
                return left
            if wait > 0:
                return min(left, wait)
            if due <= 0:
                heapq.heappop(self.again)
            else:
                self._next = next(self.requests, None)
            if not self.under_way:
                self._busy_since = now
            task = asyncio.create_task(self._ask(first, self.pace.sent(now, first.tokens)))
            self.under_way.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = self.error or error
        self._wake.set()

    async def _woken(self, seconds: float) -> None:
        """Wait until a request is answered, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        self._wake.clear()
        now = self.clock()
        if self.under_way and self.pace.latency is not None:
            quiet = max(_STALL_SECONDS, _STALL_FACTOR * self.pace.slowest)
            if now - max(self._good_at, self._busy_since) > quiet:
                self.error = self.error or RetryableError(
                    f"shard {self.shard.shard_id}: the server has answered none of {len(self.under_way)} requests for "
                    f"{quiet:.0f} s, though an answer took {self.pace.slowest:.1f} s at most before. {self._kept}"
                )

    @property
    def _kept(self) -> str:
        return f"{self.settled:,} answers are saved; it goes on there when it is started again"

    async def _ask(self, request: _Request, sent: Sent) -> None:
        try:
            reply = await self.client.chat_reply(request.custom_id, request.body)
        except ApiError as error:
            self._failed(request, sent, error)
            return
        now = self.clock()
        used_up = used_up_seconds(reply.headers, now=now)
        tokens = _tokens_of(reply) if self.counts_tokens else 0
        self.pace.answered(sent, now, tokens=tokens, used_up_seconds=used_up)
        self._good_at = now
        self._settle(_answer_line(request.custom_id, reply, seconds=now - sent.at))

    def _failed(self, request: _Request, sent: Sent, error: ApiError) -> None:
        now = self.clock()
        if isinstance(error, AuthError | CreditError):
            kind = type(error)
            self.error = self.error or kind(f"{error}. {self._kept}", status=error.status, code=error.code)
            heapq.heappush(self.again, (now, next(self._order), request))
        elif isinstance(error, RetryableError | AmbiguousError):
            self.pace.refused(sent, now, error.retry_after)
            pause = 0.0
            if isinstance(error, AmbiguousError):
                request.tries += 1
                self.lost += 1
                self._keep(lost_line(request.custom_id))
                pause = min(_MAX_PAUSE_SECONDS, 2.0 ** (request.tries - 1)) * (0.5 + random.random() / 2)  # noqa: S311
            if request.tries >= _TRIES:
                self._settle(_error_line(request.custom_id, error))
            else:
                heapq.heappush(self.again, (now + pause, next(self._order), request))
            if now - self._good_at > _OUTAGE_SECONDS:
                self._give_up(error)
        elif not self.settled and _lacks_chat(error):
            self.error = self.error or ConfigError(
                f"the server has no chat endpoint, so it cannot answer live: {error}. Check the base URL, or send the "
                "requests in batches"
            )
            heapq.heappush(self.again, (now, next(self._order), request))
        else:
            self.pace.rejected(sent, now)
            self._good_at = now
            self._settle(_error_line(request.custom_id, error))

    def _give_up(self, error: ApiError) -> None:
        kind = BusyError if error.status in _REFUSED_UNREAD else RetryableError
        self.error = self.error or kind(
            f"shard {self.shard.shard_id}: no request was answered for {_OUTAGE_SECONDS / 60:.0f} min: {error}. "
            f"{self._kept}",
            status=error.status,
            retry_after=error.retry_after,
        )

    def _settle(self, line: bytes) -> None:
        self.settled += 1
        self._keep(line)
        self.seen(self.settled)

    def _keep(self, line: bytes) -> None:
        self.unsaved.append(line)
        if len(self.unsaved) >= SEGMENT_ANSWERS:
            self._full.set()

    async def _save_as_they_come(self) -> None:
        """Save a segment when it is full or a second old, and check whether another worker has taken over."""
        try:
            while not self.is_closing:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SEGMENT_SECONDS):
                        await self._full.wait()
                await self._save()
                self._wake.set()
                await self._look_around()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answering ends with it
            self.error = self.error or error
            self._wake.set()

    async def _save(self) -> None:
        while lines := self.unsaved[:SEGMENT_ANSWERS]:
            await asyncio.to_thread(self.folder.write, self.claim, next(self._numbers), lines)
            del self.unsaved[: len(lines)]
            if len(self.unsaved) < SEGMENT_ANSWERS:
                self._full.clear()
                if not self.is_closing:
                    return

    async def _look_around(self) -> None:
        now = self.clock()
        if now - self._noted_at >= _NOTE_SECONDS:
            self._noted_at = now
            rate = (self.settled - self._began_with) / max(now - self._began_at, SEGMENT_SECONDS)
            await asyncio.to_thread(self.folder.note_progress, self.claim, LiveProgress(self.settled, rate))
        if now - self._checked_at >= SEGMENT_SECONDS:
            self._checked_at = now
            last = await asyncio.to_thread(latest_claim, self.shard)
            if last is not None and last.number != self.claim:
                self.error = self.error or OvertakenError(
                    f"shard {self.shard.shard_id}: another worker answers it now, so this one has stopped. {self._kept}"
                )
                self._wake.set()
        if self.share is not None and now - self._shared_at >= _SHARE_SECONDS:
            self._shared_at = now
            self.pace.share(await asyncio.to_thread(self.share), now)

    async def _cut(self) -> int:
        """End the open requests, and return how many had no reply."""
        until = self.clock() + _DRAIN_SECONDS
        # What stops the next requests, such as a key that has expired, need not cost those that are under way.
        while self.error is not None and self.under_way and not self.is_stopped and self.clock() < until:
            await self._woken(until - self.clock())
        cut = list(self.under_way)
        left = set(cut)
        while left:
            for task in left:
                task.cancel()
            # One that is just about to connect may miss a cancel, and would wait for its reply for minutes.
            _, left = await asyncio.wait(left, timeout=_POLL_SECONDS)
        return sum(task.cancelled() for task in cut)


def _in_thread(answering: _Answering, stop: threading.Event | None) -> None:
    """Run it beside this thread, which may have an event loop and receives the signals."""
    with _terminable(), ThreadPoolExecutor(1, thread_name_prefix="greennode-live") as pool:
        future = pool.submit(asyncio.run, answering.run())
        try:
            while stop is not None and not future.done():
                if stop.wait(_POLL_SECONDS):
                    answering.stop()
                    break
            future.result()
        except BaseException:
            answering.stop()
            raise


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the answering as Ctrl-C does, where it would end the process on the spot."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: Any) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


def _tokens_of(reply: Reply) -> int:
    try:
        usage = msgspec.json.decode(reply.body, type=_Body).usage
    except msgspec.DecodeError:
        return 0
    return 0 if usage is None else (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)


def _lacks_chat(error: ApiError) -> bool:
    """Whether the path of chat completions does not exist, so that no request can be answered."""
    is_missing = isinstance(error, NotFoundError) and not error.names_model
    return is_missing or error.status == HTTPStatus.METHOD_NOT_ALLOWED


def _answer_line(custom_id: str, reply: Reply, *, seconds: float) -> bytes:
    """An answer as a line of a result file: the server's body, byte for byte if it is on one line."""
    body = reply.body.strip()
    if b"\n" in body or b"\r" in body:
        body = msgspec.json.format(body, indent=-1)
    return b"".join(
        (
            b'{"custom_id":', msgspec.json.encode(custom_id),
            b',"response":{"status_code":', str(reply.status).encode(),
            b',"request_id":', msgspec.json.encode(reply.headers.get("x-request-id")),
            b',"body":', body,
            b'},"error":null,"seconds":', b"%.3f" % seconds,
            b"}",
        )
    )  # fmt: skip


def _error_line(custom_id: str, error: ApiError) -> bytes:
    """A refusal as a line of a result file."""
    said = {"message": str(error), "code": error.code}
    if error.status is None:
        return msgspec.json.encode(
            {"custom_id": custom_id, "response": None, "error": {**said, "code": error.code or "no_reply"}}
        )
    response = {"status_code": error.status, "request_id": error.request_id, "body": {"error": said}}
    return msgspec.json.encode({"custom_id": custom_id, "response": response, "error": None})
