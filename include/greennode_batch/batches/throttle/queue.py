"""SubmitQueue: shards wait until a connection with limits on batches or tokens has capacity.

First come, first served. The clocks of many workers cannot decide who came first; the next number of an admission
does: one worker gets it, and it has seen all admissions before. So the limits hold for any number of workers. A shard
keeps its admission until its batch has ended, and while the server has no capacity for it. Batches that were sent
while there were no limits are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from upath import UPath

from greennode_batch.api.capacity import MAX_PAUSE_SECONDS, pause_seconds
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.throttle.completion import Completions, good_until
from greennode_batch.batches.throttle.limits import Limits
from greennode_batch.batches.throttle.queue_folder import QueueFolder, QueueListing, Ticket, name_in_queue
from greennode_batch.batches.throttle.shard_tokens import prompt_tokens_of
from greennode_batch.errors import AmbiguousError, ApiError, BusyError, ConfigError, RetryableError, SplitError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import is_sent, read_receipt
from greennode_batch.state.submit_queue import Admission, Tries

# A waiting shard tries again within this time, unless its worker was stopped: then the others stop waiting for it.
_FRESH_SECONDS = MAX_PAUSE_SECONDS + 300.0
# From a read of the queue to the admission that follows. The numbers of ended admissions are kept far longer.
_DECISION_SECONDS = 600.0


def _shard_at(folder: str) -> ShardFolder:
    return ShardFolder(UPath(folder))


class SubmitQueue:
    """The queue of one connection.

    folder: as queue_folder() names it. shard_at: opens the folder of any shard in the queue, by its path as text.
    """

    def __init__(
        self,
        folder: UPath,
        limits: Limits,
        client: GreenNodeClient,
        *,
        shard_at: Callable[[str], ShardFolder] = _shard_at,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = QueueFolder(folder)
        self._limits = limits
        self._ends = Completions(client, shard_at, clock)
        self._clock = clock

    @contextmanager
    def admit(self, shard: ShardFolder) -> Iterator[float]:
        """Admits the shard: its create may be sent until the time that the context gives, in epoch seconds.

        Raises BusyError if it has to wait. If sending ends with a retryable error, the admission stays the shard's for
        an hour; after any other error, or once the shard was split, the next shard can have it.
        """
        number, until = self._admit(shard)
        try:
            yield until
        except SplitError:
            self._folder.end(number)
            raise
        except (RetryableError, AmbiguousError):
            raise
        except (ApiError, ConfigError):
            if not is_sent(shard):
                self._folder.end(number)
            raise

    def _admit(self, shard: ShardFolder) -> tuple[int, float]:
        """The number of the shard's admission, and until when it is good."""
        while True:
            now = self._clock()
            seen = self._folder.listing()
            name = name_in_queue(shard)
            ticket = seen.tickets.get(name) or Ticket(round(now * 1000), name, self._tokens(shard))
            ahead = self._ahead(seen, ticket, now)
            # A shard that was admitted before, and whose worker was stopped, has no ticket any more.
            may_be_in = name not in seen.tickets and shard.uploading.exists()
            if not may_be_in and not self._limits.allow(ahead, ticket.tokens):
                self._wait(shard, ticket, f"shards ahead of it: {len(ahead):,}")
            admissions = list(self._folder.admissions(seen))
            own = next((one for one in admissions if one.shard == name), None)
            if own is not None:
                until = good_until(own, read_receipt(shard))
                if now < until:
                    self._folder.remove_tickets(seen, name)
                    return own.number, until
                self._let_in_again(shard, seen, own)
                continue
            under_way = self._under_way(admissions, ahead, ticket.tokens)
            if not self._limits.allow([*ahead, *under_way], ticket.tokens):
                self._wait(shard, ticket, f"shards ahead of it: {len(ahead):,}, and under way: {len(under_way):,}")
            made = Admission(seen.last + 1, name, str(shard.path), ticket.tokens, ticket.came_ms, now)
            if self._takes(made):
                self._folder.remove_tickets(seen, name)
                self._folder.tidy(seen, now=now)
                return made.number, good_until(made, None)

    def _tokens(self, shard: ShardFolder) -> int:
        return prompt_tokens_of(shard) if self._limits.max_enqueued_tokens is not None else 0

    def _ahead(self, seen: QueueListing, ticket: Ticket, now: float) -> list[int]:
        """The tokens of earlier shards that workers still try to send."""
        return [
            other.tokens
            for other in seen.tickets.values()
            if other.position < ticket.position and now - other.tried_at < _FRESH_SECONDS
        ]

    def _wait(self, shard: ShardFolder, ticket: Ticket, words: str) -> NoReturn:
        tries = self._folder.tries(ticket) + 1
        self._folder.write_ticket(ticket, Tries(str(shard.path), tries))
        raise BusyError(
            f"shard {shard.shard_id} waits in the connection's queue ({self._limits}); {words}",
            retry_after=pause_seconds(tries),
        )

    def _let_in_again(self, shard: ShardFolder, seen: QueueListing, own: Admission) -> None:
        """Put a shard that was not sent in time back to its place in the queue."""
        self._folder.remove_tickets(seen, own.shard)
        self._folder.write_ticket(Ticket(own.came_ms, own.shard, own.tokens), Tries(str(shard.path), 0))
        self._folder.end(own.number)

    def _under_way(self, admissions: list[Admission], ahead: list[int], tokens: int) -> list[int]:
        """The tokens of the shards that are admitted and not over. Records admissions that are over."""
        over = {one.number for one in admissions if self._ends.is_over(one)}
        staying = [one for one in admissions if one.number not in over]
        # The server knows of an end before it is collected. The first in the queue asks, and records it for the others.
        if not ahead and not self._limits.allow([one.tokens for one in staying], tokens):
            over |= self._ends.have_ended(staying)
        for number in over:
            self._folder.end(number)
        # A shard that was admitted twice, because its worker was killed, has one batch.
        return list({one.shard: one.tokens for one in admissions if one.number not in over}.values())

    def _takes(self, made: Admission) -> bool:
        """Whether the admission is this worker's; if not, another one was admitted meanwhile."""
        if not self._folder.admit(made):
            return False
        if self._clock() - made.admitted_at <= _DECISION_SECONDS:
            return True
        # This worker was paused: what it read may be long past.
        self._folder.end(made.number)
        return False
