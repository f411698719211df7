"""Halves: a shard that is larger than the server's limit on enqueued tokens is split, until its parts fit.

    splits/<shard_id>.json -> claim -> the halves' requests.jsonl -> split.json

Waiting does not cure such a refusal. A shard counts as too large if the server names a limit below our estimate, or if
it refuses the shard several times in succession while nothing else is enqueued there. The claim is like that of a
create: it follows a claim that certainly made no batch, so a shard is either sent or split. The halves depend on the
shard's bytes alone: a worker that is stopped, and two workers at once, come to the same ones.
"""

from __future__ import annotations

import itertools
import logging
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import DEADLINE_SECONDS
from greennode_batch.api.results.result_lines import iter_lines
from greennode_batch.batches.throttle.queue_folder import QueueFolder, name_in_queue
from greennode_batch.batches.throttle.shard_tokens import prompt_tokens_of
from greennode_batch.errors import ApiError, BusyError, ConfigError, RejectedError, SplitError
from greennode_batch.plan.shard_file import ShardFile, ShardLimits
from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import ShardFolder, land, local_copy, work_folder
from greennode_batch.state.attempts import sent_shards
from greennode_batch.state.enqueued_limit import EnqueuedLimit, EnqueuedLimits
from greennode_batch.state.list_memory import ListMemory
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import (
    Claim,
    EnqueuedRefusal,
    NumberedClaim,
    OvertakenError,
    Receipt,
    is_to_be_split,
    latest_claim,
    read_receipt,
    take_claim,
    write_receipt,
)
from greennode_batch.state.shard_model import model_of
from greennode_batch.state.split import (
    Half,
    Split,
    SplitBegun,
    halves_of,
    note_split_begun,
    read_split,
    read_split_begun,
    wholes_of,
)
from greennode_batch.state.stops import is_in_run
from greennode_batch.state.withdrawn import is_withdrawn
from greennode_batch.wording import counted

log = logging.getLogger(__name__)

# More for each split before: batches of other keys may be enqueued that the list does not show.
_ALONE = 2
# Without a named limit: halves by bytes fit below it, also if their lines differ in length.
_GUESSED_SHARE = 0.6
_LINES_TOGETHER = 500
_NO_LIMITS = ShardLimits(max_requests=sys.maxsize, max_bytes=sys.maxsize)


def is_alone(shard: ShardFolder, client: GreenNodeClient, *, now: float) -> bool:
    """Whether the server's list shows that no batch is enqueued there. False if the list cannot be trusted."""
    profile = client.profile
    if not profile.can_list_batches or profile.list_trust == "never":
        return False
    is_empty = True
    try:
        for batch in client.list_batches():
            is_empty = False
            # The server has ended an older one, whatever its word for that.
            is_recent = batch.created_at is None or now - batch.created_at < DEADLINE_SECONDS
            if is_recent and not batch.status.is_terminal:
                return False
    except ApiError as error:
        log.warning("It is unknown whether other batches are enqueued: %s", error)
        return False
    memory = ListMemory(shard, client.host, profile)
    # A list that has never shown a batch shows nothing about others.
    return not is_empty or profile.list_trust == "always" or memory.knows("shown") or not memory.knows("created")


@dataclass(kw_only=True)
class Halving:
    """Decides whether a shard is too large, and splits it. limits: of its connection; None remembers nothing."""

    shard: ShardFolder
    limits: EnqueuedLimits | None = None
    clock: Callable[[], float] = time.time

    def go_on(self) -> None:
        """Raise SplitError for a shard that was split, or whose split another worker has begun; finishes that."""
        split = read_split(self.shard)
        if split is None and is_to_be_split(self.shard):
            begun = read_split_begun(self.shard)
            assert begun is not None, "a split is noted before it is claimed, and stays"
            log.info("Shard %s: finishing the split that another worker began", self.shard.shard_id)
            split = _write_split(self.shard, begun, self.clock)
        if split is not None:
            self._raise(split)

    def split_by_known_limit(self) -> None:
        """Split a shard that is larger than the limit that the connection remembers, and raise SplitError."""
        known = self.limits.by_model(now=self.clock()) if self.limits is not None else {}
        plan = read_plan(self.shard.run) if known and is_in_run(self.shard) else None
        if plan is None:
            return
        of_attempt = sent_shards(self.shard.run, plan, self.shard.attempt)
        sent = next((one for one in of_attempt if one.shard_id == self.shard.shard_id), None)
        limit = known.get(sent.model) if sent is not None else None
        # A single request is asked about: the estimate may be wrong, and there is nothing to split.
        if sent is None or limit is None or sent.requests == 1:
            return
        if (tokens := prompt_tokens_of(self.shard)) > limit.tokens:
            words = f"the limit was learned earlier: {limit.words}"
            self._raise(split(self.shard, SplitBegun(tokens, limit.tokens, words), clock=self.clock))

    def judge(self, refusal: EnqueuedRefusal, client: GreenNodeClient) -> None:
        """Split a shard if its last refusal shows that it is too large, and raise SplitError; return if it may wait.

        Raises RejectedError for a single request that is too large.
        """
        if not is_in_run(self.shard):
            return
        tokens = prompt_tokens_of(self.shard)
        is_named = refusal.limit is not None and tokens > refusal.limit
        was_alone = refusal.alone >= _ALONE + _splits_before(self.shard)
        if not (is_named or was_alone):
            return
        if _has_one_request(self.shard):
            # It ends here only if the server's own number speaks for it: an estimate may be wrong by half.
            is_near = refusal.limit is not None and 2 * tokens > refusal.limit
            if is_near and (was_alone or not client.profile.can_list_batches):
                self._forget_refusals()
                raise RejectedError(
                    f"shard {self.shard.shard_id}: its only request, of about {tokens:,} prompt tokens, is larger than "
                    f"the server's limit on enqueued tokens, so it can never be sent: {refusal.words}. Nothing was "
                    "paid for it. Shorten the prompt or leave out its row, or ask for a higher limit"
                )
            return
        limit = refusal.limit if is_named and refusal.limit is not None else round(tokens * _GUESSED_SHARE)
        if self.limits is not None:
            self.limits.note(
                EnqueuedLimit(
                    model=model_of(self.shard),
                    tokens=limit,
                    named=is_named,
                    words=refusal.words,
                    noted_at=self.clock(),
                )
            )
        self._raise(split(self.shard, SplitBegun(tokens, limit, refusal.words), clock=self.clock))

    def _forget_refusals(self) -> None:
        """Have the shard asked about once more when a person runs it again: the limit may have been raised."""
        receipt = read_receipt(self.shard)
        if receipt is not None:
            with suppress(OvertakenError):
                write_receipt(self.shard, msgspec.structs.replace(receipt, refused=None))

    def _raise(self, split: Split) -> NoReturn:
        if self.limits is not None:
            # Others must not wait for a shard that is not sent.
            queue = QueueFolder(self.limits.folder)
            queue.remove_tickets(queue.listing(), name_in_queue(self.shard))
        parts = ", ".join(counted(half.requests, "request") for half in split.halves)
        raise SplitError(
            f"shard {self.shard.shard_id} was split into shards of {parts}, because with about "
            f"{split.prompt_tokens:,} prompt tokens it is larger than one batch may be (limit: about "
            f"{split.limit:,}): {split.words}. Nothing was paid for it; its parts are sent in its place",
            retry_after=0.0,
        )


def noted_refusal(
    shard: ShardFolder, client: GreenNodeClient, receipt: Receipt, words: str, limit: int | None, *, now: float
) -> EnqueuedRefusal:
    """The refusal of a shard for a limit on enqueued tokens, on top of those before."""
    before = receipt.refused.alone if receipt.refused is not None else 0
    return EnqueuedRefusal(words.rstrip(". "), limit, alone=before + 1 if is_alone(shard, client, now=now) else 0)


def split(shard: ShardFolder, why: SplitBegun, *, clock: Callable[[], float] = time.time) -> Split:
    """Split a shard into halves of about as many bytes, and those again that are larger than the limit.

    Safe to call again after any end. Raises BusyError if another worker is sending the shard, and ConfigError if it was
    withdrawn.
    """
    note_split_begun(shard, why)
    while not is_to_be_split(shard):
        last = latest_claim(shard)
        if last is not None and is_withdrawn(shard, last.claim):
            raise ConfigError(f"shard {shard.shard_id} was withdrawn: its run was built again without it")
        if last is not None and not last.claim.released:
            raise BusyError(f"shard {shard.shard_id} is being sent by another worker", retry_after=0.0)
        claim = Claim(uuid.uuid4().hex, "", clock(), released=True, splits=True)
        take_claim(shard, NumberedClaim(last.number + 1 if last else 1, claim))
    return _write_split(shard, why, clock)


def _write_split(shard: ShardFolder, why: SplitBegun, clock: Callable[[], float]) -> Split:
    with local_copy(shard.requests) as path, work_folder(shard.run.path) as work:
        halves = _halves(shard, path, Path(work), why.prompt_tokens)
    made = Split(halves, why.prompt_tokens, why.limit, why.words, clock())
    if not create_exclusive(shard.split, made):
        made = read_split(shard) or made
    for half, folder in zip(made.halves, halves_of(shard), strict=True):
        if half.prompt_tokens > why.limit and half.requests > 1:
            split(folder, SplitBegun(half.prompt_tokens, why.limit, why.words), clock=clock)
    return made


def _halves(shard: ShardFolder, path: Path, work: Path, tokens: int) -> tuple[Half, ...]:
    """Write the requests of both halves into staging. Holds some hundred lines."""
    size, first = path.stat().st_size, _first_half(path)
    made = []
    with path.open("rb") as file:
        lines = iter_lines(file, max_bytes=sys.maxsize)
        for number, requests in enumerate((first, None)):
            half = ShardFile(work / f"{number}.jsonl", _NO_LIMITS)
            rest = itertools.islice(lines, requests)
            while some := [line + b"\n" for line in itertools.islice(rest, _LINES_TOGETHER)]:
                half.take(some)
            half.close()
            land(half.path, shard.run.shard(half.shard_id, attempt=shard.attempt).requests)
            made.append(Half(half.shard_id, half.requests, half.bytes, round(tokens * half.bytes / size)))
    return tuple(made)


def _first_half(path: Path) -> int:
    """How many lines make up the first half of a file, by bytes; at least one stays for the second."""
    half, before, count, total = path.stat().st_size / 2, 0, 0, 0
    with path.open("rb") as file:
        for line in iter_lines(file, max_bytes=sys.maxsize):
            total += 1
            before += len(line) + 1
            count += before <= half
    return min(max(count, 1), total - 1)


def _splits_before(shard: ShardFolder) -> int:
    """How many splits led to a shard."""
    return max((1 + _splits_before(whole) for whole in wholes_of(shard)), default=0)


def _has_one_request(shard: ShardFolder) -> bool:
    with local_copy(shard.requests) as path, path.open("rb") as file:
        return next(itertools.islice(iter_lines(file, max_bytes=sys.maxsize), 1, None), None) is None
