"""Submit: one shard becomes one batch, exactly once.

    upload -> receipt uploaded(file_id) -> claim -> POST /batches -> receipt created(batch_id)

A create is never repeated blindly. If it is unclear whether a create was carried out (after a timeout, a reset, a
5xx, a kill), the server's batches are listed and matched by our mark in their metadata or by their input file, until
the settle time has passed; only then is it sent again. An empty result counts only if the list was read to its end
and has ever shown a batch. A claim that its holder has not used in time is void: a worker that was paused and wakes
up sends nothing.

Gateways repeat creates by themselves, and swap files: after a create the list is read once. One batch of a shard is
kept, and the others are cancelled.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import msgspec

from greennode_batch.api.capacity import is_over_capacity, pause_seconds
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.paging import NOT_WHOLE
from greennode_batch.api.polling.polling import BUSY_SECONDS
from greennode_batch.api.token_limit import is_enqueued_limit, limit_in
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.batches.halves import Halving, noted_refusal
from greennode_batch.batches.stopped import refuse_stopped
from greennode_batch.batches.upload import is_unready, remote_name, upload
from greennode_batch.errors import (
    AmbiguousError,
    ApiError,
    BusyError,
    ConfigError,
    GreenNodeError,
    NotFoundError,
    RejectedError,
    RetryableError,
)
from greennode_batch.spans import CREATE, PROVIDER
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.attempts import planned_model
from greennode_batch.state.enqueued_limit import EnqueuedLimits
from greennode_batch.state.list_memory import ListMemory
from greennode_batch.state.receipts import (
    Claim,
    NumberedClaim,
    OvertakenError,
    Receipt,
    is_sent,
    latest_claim,
    note_of_batch,
    read_receipt,
    receipt_path,
    release_claim,
    take_claim,
    write_receipt,
)
from greennode_batch.state.shard_model import model_of
from greennode_batch.state.withdrawn import is_void, is_withdrawn
from greennode_batch.wording import given_by

log = logging.getLogger(__name__)

Admit = Callable[[ShardFolder], AbstractContextManager[float]]
"""Admits a shard from the queue: its create may be sent until the time that the context gives, in epoch seconds."""

SETTLE_SECONDS = 90.0
"""How long a batch may take to show in the server's list. Longer than a create may be under way."""
# With the 45 seconds that a create may take, it is over before another worker stops searching for it.
_CLAIM_SECONDS = 30.0
_POLL_SECONDS = 3.0
_CREATES = 3
# Between this machine's clock and the server's.
_CLOCK_SECONDS = 3600.0
# A batch that a create has just made, also one that a gateway made of it, is at the front of the list.
_FRONT = 100
_SHARD_FIELD = "greennode_airflow_shard"
_FILE_FIELD = "greennode_airflow_file"
# It identifies a shard of one staging area: others may have a file with the same bytes, and some servers give equal
# files the same id.
_NAME_FIELD = "greennode_airflow_name"
# How long before ours a gateway may have repeated our create, by a clock that is somewhat off.
_REPEATED_SECONDS = 600.0


def submit(
    shard: ShardFolder,
    client: GreenNodeClient,
    *,
    on_ambiguous: Literal["fail", "resubmit"] = "fail",
    admit: Admit | None = None,
    limits: EnqueuedLimits | None = None,
    settle_seconds: float = SETTLE_SECONDS,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Receipt:
    """The receipt of the shard's batch, which is created if it does not exist yet.

    Safe to call again after any end, by this worker or another. Raises BusyError if the server has no capacity for it
    now, and AmbiguousError if the server cannot show whether a create was accepted and the job did not choose
    `on_ambiguous="resubmit"`. admit: the queue in which shards wait; then BusyError is also raised if others are before
    it. A shard that is sent, or may be, does not wait. Raises UnreadResultsError or SystematicFailureError for a shard
    that is not sent because its run was stopped, SplitError for a shard that was split because it is larger than the
    server's limit on enqueued tokens, and RejectedError if it is so with a single request. limits: those that the
    connection has learned.
    """
    refuse_stopped(shard)
    halving = Halving(shard=shard, limits=limits, clock=clock)
    halving.go_on()
    if not is_sent(shard):
        halving.split_by_known_limit()
    with nullcontext(math.inf) if admit is None or is_sent(shard) else admit(shard) as not_after:
        receipt = upload(shard, client, clock)
        if receipt.batch_id is not None:
            log.info("Shard %s is batch %s already; nothing is sent", shard.shard_id, receipt.batch_id)
            return receipt
        if receipt.refused is not None:
            halving.judge(receipt.refused, client)
        return _Submission(
            shard=shard,
            client=client,
            receipt=receipt,
            on_ambiguous=on_ambiguous,
            halving=halving,
            not_after=not_after,
            settle_seconds=settle_seconds,
            clock=clock,
            sleep=sleep,
        ).run()


@dataclass(kw_only=True)
class _Submission:
    shard: ShardFolder
    client: GreenNodeClient
    receipt: Receipt
    on_ambiguous: Literal["fail", "resubmit"]
    halving: Halving
    not_after: float
    settle_seconds: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    # Why the server's list shows nothing of the batch, permanently or in its last state; empty while it does.
    blind: str = ""
    doubt: str = ""
    # The first claim of this worker whose create got no good reply.
    unsure: int = 0

    def __post_init__(self) -> None:
        self.memory = ListMemory(self.shard, self.client.host, self.client.profile)

    def run(self) -> Receipt:
        receipt = self._submit()
        if self.blind:
            return receipt
        last = latest_claim(self.shard)
        # A create that was given up may have been carried out late, and be anywhere in the list by now.
        is_late = bool(self.unsure) and last is not None and last.number > self.unsure
        return self._keep_one(receipt, first=None if is_late else _FRONT)

    def _submit(self) -> Receipt:
        if not self.client.profile.can_list_batches:
            self.blind = "cannot list batches"
        creates = 0
        while True:
            last = latest_claim(self.shard)
            if last is not None and not last.claim.released:
                found = self._search_until_settled(last)
                if found is not None:
                    return found
                if latest_claim(self.shard) != last:
                    continue
                self._may_send_again(last.claim)
            self._refuse_what_is_void(last, creates)
            not_after = min(self.clock() + _CLAIM_SECONDS, self.not_after)
            mine = NumberedClaim(
                number=last.number + 1 if last else 1,
                claim=Claim(token=self.token, file_id=self.receipt.file_id, claimed_at=self.clock()),
            )
            if not take_claim(self.shard, mine):
                continue
            # From here on no other worker writes about the batch, unless this worker was paused.
            self._read_again()
            if self.receipt.batch_id is not None:
                release_claim(self.shard, mine.number)
                return self.receipt
            self._refuse_void_half(mine)
            if self.receipt.file_id != mine.claim.file_id:
                release_claim(self.shard, mine.number)
                continue
            creates += 1
            try:
                return self._create(mine, not_after)
            except AmbiguousError as error:
                log.warning("%s Searching for the batch before anything is sent again.", error)
                self.unsure = self.unsure or mine.number

    def _refuse_what_is_void(self, last: NumberedClaim | None, creates: int) -> None:
        if last is not None and is_withdrawn(self.shard, last.claim):
            raise self._withdrawn()
        if last is not None and (last.claim.splits or last.claim.withdrawn):
            # Another worker may have split it since, before a build withdrew it and a later one planned it again.
            self.halving.go_on()
        if creates == _CREATES:
            raise RetryableError(
                f"shard {self.shard.shard_id}: {creates} creates of its batch got no good reply, and the server's "
                "list shows none of them. Nothing is lost; the next try checks the list before it sends"
            )

    def _refuse_void_half(self, mine: NumberedClaim) -> None:
        # Read after the claim is taken: a build that withdraws the whole shard later sees the claim.
        if is_void(self.shard):
            release_claim(self.shard, mine.number)
            raise self._withdrawn()

    def _withdrawn(self) -> ConfigError:
        return ConfigError(
            f"shard {self.shard.shard_id} was withdrawn: its run was built again without it. Nothing was sent. "
            "Clear build_requests and what follows it"
        )

    def _create(self, mine: NumberedClaim, not_after: float) -> Receipt:
        metadata = {
            _SHARD_FIELD: self.shard.shard_id,
            _FILE_FIELD: self.receipt.file_id,
            _NAME_FIELD: remote_name(self.shard),
        }
        model = model_of(self.shard) if self.client.profile.model_in_create else None
        file_id = self.receipt.file_id
        try:
            with CREATE.open() as span:
                if span.is_on:
                    span.note(**self._traced())
                batch = self.client.create_batch(file_id, metadata=metadata, model=model, not_after=not_after)
                span.note(batch_id=batch.id)
        except AmbiguousError:
            raise
        except ApiError as error:
            # A definite no: nothing runs, nothing is paid, and the next try may create at once.
            release_claim(self.shard, mine.number)
            if is_over_capacity(error) and is_enqueued_limit([error.code or ""], str(error)):
                self._refused_for_tokens(error)
            raise self._refused(error, tries=mine.number) from error
        last = latest_claim(self.shard)
        if last is not None and last.number > mine.number:
            self._give_up(batch)
        return self._created(batch, mine)

    def _traced(self) -> dict[str, Any]:
        return {
            "shard_id": self.shard.shard_id,
            "attempt": self.shard.attempt,
            "server": self.client.host,
            "provider": PROVIDER,
            "model": planned_model(self.shard),
            "file_id": self.receipt.file_id,
        }

    def _give_up(self, batch: Batch) -> NoReturn:
        """Cancel the batch that this worker made although another one had taken over the shard meanwhile."""
        outcome = "it was cancelled at once"
        try:
            self.client.cancel_batch(batch.id)
        except GreenNodeError as error:
            outcome = f"it could not be cancelled ({error}): cancel it at GreenNode, or its shard is paid for twice"
        raise RetryableError(
            f"shard {self.shard.shard_id}: this worker was paused, and another one took over before its batch "
            f"{batch.id} was created; {outcome}"
        )

    def _keep_one(self, receipt: Receipt, *, first: int | None) -> Receipt:
        """Cancel other batches of the shard than its own, among the first of the list, and learn how the list works.

        There are others if a gateway repeated the create by itself, or if a create without a good reply was carried out
        so late that another one had already been sent, by this worker or by one that took over.
        """
        try:
            # Listed before the receipt is read: a batch created after another create was refused is not among them.
            batches = list(itertools.islice(self.client.list_batches(), first))
        except ApiError as error:
            if first is None:
                log.warning("Shard %s may have more than one batch; the check failed: %s", self.shard.shard_id, error)
            return receipt
        receipt = read_receipt(self.shard) or receipt
        if receipt.batch_id is None:
            return receipt
        self._learn(receipt, batches)
        known = {receipt.batch_id, *receipt.over_capacity, *receipt.repeated}
        others = [batch for batch in batches if batch.id not in known and self._is_repeated(batch, receipt)]
        for batch in others:
            outcome = "it had ended"
            if not batch.status.is_terminal:
                outcome = "it is cancelled"
                try:
                    self.client.cancel_batch(batch.id)
                except GreenNodeError as error:
                    outcome = f"it could not be cancelled ({error}): cancel it at GreenNode"
            log.warning(
                "Batch %s was created for shard %s as well, which is batch %s: %s",
                batch.id,
                self.shard.shard_id,
                receipt.batch_id,
                outcome,
            )
        if not others:
            return receipt
        try:
            return note_of_batch(self.shard, receipt, repeated=(*receipt.repeated, *(batch.id for batch in others)))
        except OvertakenError:
            return read_receipt(self.shard) or receipt

    def _learn(self, receipt: Receipt, batches: Iterable[Batch]) -> None:
        """Remember what the list shows, now that there is a batch that it must show."""
        now = self.clock()
        mine = None
        for batch in batches:
            self.memory.note("shown", now=now)
            mine = batch if batch.id == receipt.batch_id else mine
        self.memory.note("created", now=now)
        if mine is not None and mine.input_file_id is not None and not self._is_of(mine, receipt.file_id):
            log.warning(
                "This server calls the input file of batch %s %s, but it was created from %s; our metadata is missing "
                "too. So a batch cannot be found by what it was made from: after a create without a reply, this stops "
                "and a person has to check. Does the profile send metadata, and name its field "
                "(metadata_field, batch_fields)?",
                mine.id,
                mine.input_file_id,
                receipt.file_id,
            )
            self.memory.note("changes_ids", now=now)

    def _is_repeated(self, batch: Batch, receipt: Receipt) -> bool:
        """Whether a batch comes from a create of this shard; a batch of the same file alone may be another run's."""
        if not self._is_of(batch, receipt.file_id):
            return False
        name = batch.metadata.get(_NAME_FIELD)
        if name is not None:
            return name == remote_name(self.shard)
        began = (receipt.created_at or self.clock()) - _REPEATED_SECONDS
        return batch.created_at is None or batch.created_at >= began

    def _is_of(self, batch: Batch, file_id: str) -> bool:
        """Whether a batch was made from this file, by our mark in its metadata or by its input file."""
        match_by = self.client.profile.match_by
        is_marked = batch.metadata.get(_FILE_FIELD) == file_id
        return (match_by != "file_id" and is_marked) or (match_by != "metadata" and batch.input_file_id == file_id)

    def _refused(self, error: ApiError, *, tries: int) -> ApiError:
        """The error to raise for a create that was certainly refused."""
        kind, retry_after = type(error), error.retry_after
        words = f"shard {self.shard.shard_id}: {error}. No batch was created for this shard, and nothing is paid for it"
        age = self.clock() - (self.receipt.uploaded_at or self.clock())
        unready = isinstance(error, NotFoundError | RejectedError) and is_unready(self.client, self.receipt, error)
        if (unready or is_over_capacity(error)) and age < BUSY_SECONDS:
            kind, retry_after = BusyError, max(pause_seconds(tries), retry_after or 0.0)
        elif isinstance(error, NotFoundError):
            words += (
                f". If the server has lost file {self.receipt.file_id} (see GreenNode's console), remove "
                f"every receipt*.json in {self.shard} to upload the shard again, at no cost"
            )
        return kind(words, status=error.status, code=error.code, request_id=error.request_id, retry_after=retry_after)

    def _refused_for_tokens(self, error: ApiError) -> None:
        """Note a refusal for a limit on enqueued tokens. Raises SplitError if waiting does not cure it."""
        words = str(error)
        refused = noted_refusal(self.shard, self.client, self.receipt, words, limit_in(words), now=self.clock())
        try:
            self.receipt = write_receipt(self.shard, msgspec.structs.replace(self.receipt, refused=refused))
        except OvertakenError:
            return  # another worker has tried it since
        self.halving.judge(refused, self.client)

    def _created(self, batch: Batch, held: NumberedClaim) -> Receipt:
        log.info("Shard %s is batch %s (%s)", self.shard.shard_id, batch.id, batch.raw_status)
        made = msgspec.structs.replace(
            self.receipt,
            state="created",
            file_id=held.claim.file_id,
            server=self.client.host,
            batch_id=batch.id,
            claim=held.number,
            # By our clock, on which its deadline is counted; the server's may be off.
            created_at=held.claim.claimed_at,
        )
        try:
            return write_receipt(self.shard, made)
        except OvertakenError:
            self._read_again()
            if self.receipt.batch_id == batch.id:
                return self.receipt
            if batch.id in self.receipt.over_capacity:
                raise
            self._give_up(batch)

    def _read_again(self) -> None:
        """Read what others have written about the shard."""
        self.receipt = read_receipt(self.shard) or self.receipt

    def _search_until_settled(self, last: NumberedClaim) -> Receipt | None:
        """The batch of the current claim: from another worker's receipt, or in the list. None if there is none.

        The holder of the claim is creating it right now, or was stopped while doing so.
        """
        if last.claim.live is not None:
            raise RetryableError(
                f"shard {self.shard.shard_id} is answered live, or was: no batch of it is created as well"
            )
        while True:
            self._read_again()
            if self.receipt.batch_id is not None:
                return self.receipt
            batch = self._find_batch(last.claim)
            if batch is not None:
                log.info("Found batch %s, which was created although no reply came", batch.id)
                return self._created(batch, last)
            left = last.claim.claimed_at + self.settle_seconds - self.clock()
            if left <= 0 or latest_claim(self.shard) != last or (self.blind and last.claim.token == self.token):
                return None
            self.sleep(min(_POLL_SECONDS, left))

    def _find_batch(self, claim: Claim) -> Batch | None:
        """The batch of the claim's file in the server's list. Records why, if the list cannot show it."""
        self.doubt = ""
        if self.blind:
            return None
        found: list[Batch] = []
        others: list[Batch] = []
        try:
            for batch in self.client.list_batches():
                if batch.id not in self.receipt.over_capacity:
                    (found if self._is_of(batch, claim.file_id) else others).append(batch)
        except (NotFoundError, RejectedError) as error:
            if error.code == NOT_WHOLE:
                self.doubt = f"does not show its whole list of batches ({error})"
            elif not found:
                self.blind = f"does not list batches ({error})"
        self.doubt = self.doubt or self._why_unclear(others, claim)
        # A gateway may have made several of one create: keep one that goes on; the others are cancelled.
        return min(found, key=_rank, default=None)

    def _why_unclear(self, others: Sequence[Batch], claim: Claim) -> str:
        """Why the list does not prove that the claim has no batch; empty if it does. others: all that it shows."""
        profile = self.client.profile
        if profile.list_trust == "never":
            return "has a list that is not trusted (list_trust in the connection's profile)"
        if not others and profile.list_trust != "always" and not self._may_be_empty():
            return (
                "lists no batches at all, and has never listed one. Does the list need a header (extra_headers in the "
                "connection's profile), another path or another list_style? list_trust 'always' believes it"
            )
        recent = [
            batch
            for batch in others
            if (batch.created_at or claim.claimed_at) >= claim.claimed_at - _CLOCK_SECONDS
            and _FILE_FIELD not in batch.metadata
        ]
        if profile.match_by != "metadata" and any(batch.input_file_id is None for batch in recent):
            return "lists batches without the files that they were made from"
        if profile.match_by == "any" and recent and self.memory.knows("changes_ids"):
            return "changes the ids of files, and keeps no metadata"
        return ""

    def _may_be_empty(self) -> bool:
        """Whether a list without any batch may be true: it has shown one before, or none was ever created there."""
        return bool(self.receipt.over_capacity) or self.memory.knows("shown") or not self.memory.knows("created")

    def _may_send_again(self, claim: Claim) -> None:
        unclear = self.blind or self.doubt
        if not unclear or self.on_ambiguous == "resubmit":
            log.warning("Shard %s: it has no known batch; sending it again", self.shard.shard_id)
            return
        said = given_by("on_ambiguous", "on_ambiguous='resubmit'", value="resubmit")
        raise AmbiguousError(
            f"shard {self.shard.shard_id}: it is unknown whether its batch was created (and will be billed), and "
            f"this server {unclear}. Check GreenNode's console for a batch of file {claim.file_id}. If there is "
            f'one, write its id into {receipt_path(self.shard)} as "batch_id" and run again; if there is none, run '
            f"again with {said} (which pays for this shard twice if there was one after all)"
        )


def _rank(batch: Batch) -> int:
    """Which of several batches of one file to keep: one that is done, one that goes on, any other."""
    return 0 if batch.status is BatchStatus.COMPLETED else 1 if not batch.status.is_terminal else 2
