"""Wait: one poll of a shard's batch, and the next step. Nothing here sleeps, so any caller can do the waiting.

Wait        poll again later
SendAgain   the server ended the batch for lack of capacity, before it began: submit the shard again, later; or the
            shard is a half of one that was split meanwhile: submit it
Done        collect it: it has ended, or polls can show nothing new
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from greennode_batch.api.capacity import failed_over_capacity, pause_seconds
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import (
    BUSY_SECONDS,
    DEADLINE_SECONDS,
    FORGOTTEN_SECONDS,
    MIN_POLL_SECONDS,
    Done,
    Wait,
    may_be_over,
    next_step,
    state_of,
    when_missing,
)
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.token_limit import is_enqueued_limit, limit_in
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.batches.halves import noted_refusal
from greennode_batch.errors import ApiError, ConfigError, GreenNodeError, NotFoundError, RejectedError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import (
    OvertakenError,
    Quiet,
    Receipt,
    latest_claim,
    read_receipt,
    release_claim,
    write_receipt,
)
from greennode_batch.state.split import half_of

log = logging.getLogger(__name__)

_LINE_FIELDS = re.compile(r"\b(?:method|url)\b", re.IGNORECASE)
_TOO_MANY = re.compile(r"unexpected|unknown|unrecogni[sz]ed|extra|not (?:allowed|permitted)|forbidden", re.IGNORECASE)
GRACE_SECONDS = 1800.0
"""How long a batch that was cancelled at its deadline may take to end."""
MIN_GRACE_SECONDS = 30.0
"""The same where the run has to finish by a time that is nearer."""


class Schedule(NamedTuple):
    """When what happens in a run that has to finish by a time. Epoch seconds."""

    cancel_at: float
    """When batches that still run are cancelled."""
    give_up_at: float
    """When those that have not ended then are given up."""
    finish_by: float
    """When the run has to be done."""
    pay_twice: bool = False
    """Whether the requests of those that were given up are sent again, and may be paid for twice."""


NO_SCHEDULE = Schedule(math.inf, math.inf, math.inf)


def say_counts(batch: Batch) -> None:
    """Log how far a batch is."""
    log.info("Batch %s: %s, %s", batch.id, batch.raw_status, batch.counts)


@dataclass(frozen=True)
class SendAgain:
    """Submit the shard again after so many seconds: the same file, another batch."""

    seconds: float


def poll(
    shard: ShardFolder,
    client: GreenNodeClient,
    *,
    now: float,
    deadline_seconds: float = DEADLINE_SECONDS,
    schedule: Schedule = NO_SCHEDULE,
    missing_since: float | None = None,
    seen: Callable[[Batch], None] = say_counts,
) -> Wait | SendAgain | Done:
    """Poll the shard's batch once, record what is new, and return the next step.

    deadline_seconds: how long after its creation to wait for a batch; then it is cancelled, so that its finished
    answers can be downloaded. schedule: of a run that has to finish by a time, for which the batch is cancelled
    earlier. missing_since: since when another poller has not found the batch. seen: gets the batch while it is open.
    Raises ConfigError if no batch was created for the shard.
    """
    while True:
        try:
            return _poll(
                shard,
                client,
                now=now,
                deadline=lambda receipt: deadline_of(
                    receipt, now=now, deadline_seconds=deadline_seconds, schedule=schedule
                ),
                pay_twice=schedule.pay_twice,
                missing_since=missing_since,
                seen=seen,
            )
        except OvertakenError as error:
            log.info("%s. Looking again", error)


def _poll(
    shard: ShardFolder,
    client: GreenNodeClient,
    *,
    now: float,
    deadline: Callable[[Receipt], float],
    pay_twice: bool,
    missing_since: float | None,
    seen: Callable[[Batch], None],
) -> Wait | SendAgain | Done:
    receipt = read_receipt(shard)
    if receipt is None or not receipt.is_through:
        return _unsent(shard, receipt)
    if receipt.created_at is None:
        # Written or edited by hand: its deadline is counted from now, once.
        receipt = write_receipt(shard, msgspec.structs.replace(receipt, created_at=now))
    batch_id = receipt.batch_id
    if batch_id is None or receipt.lost is not None or receipt.state == "collected":
        # A live shard has no batch, and the server may have dropped a batch that is already collected.
        return Done(receipt.lost or "ended", receipt.ended.status if receipt.ended else BatchStatus.UNKNOWN.name)
    claim = receipt.claim or _claim_before(shard)
    try:
        batch = client.get_batch(batch_id)
    except NotFoundError as error:
        return _missing(shard, client, receipt, error, now=now, since=missing_since)
    if receipt.missing_since is not None:
        receipt = write_receipt(shard, msgspec.structs.replace(receipt, missing_since=None))
    if not batch.status.is_terminal:
        seen(batch)
        return _open(shard, client, receipt, batch, now=now, deadline=deadline(receipt), pay_twice=pay_twice)
    if failed_over_capacity(batch) and now - (receipt.uploaded_at or now) < BUSY_SECONDS:
        return _over_capacity(shard, client, receipt, batch, claim, now=now)
    _refuse_wrong_lines(batch, client.profile)
    return Done("ended", batch.status.name)


def _unsent(shard: ShardFolder, receipt: Receipt | None) -> SendAgain:
    if receipt is not None and receipt.over_capacity:
        return SendAgain(pause_seconds(len(receipt.over_capacity)))
    if half_of(shard) is not None:
        return SendAgain(0.0)
    raise ConfigError(f"{shard}: no batch was created for this shard; submit it first (clear submit_batch)")


def _refuse_wrong_lines(batch: Batch, profile: ApiProfile) -> None:
    """Stop if a batch failed untouched because its lines lack fields, or have some, that the profile decides about.

    Once the profile has changed, such a batch counts as failed: its requests are sent in the next attempt.
    """
    words = "; ".join(batch.errors[:3]).rstrip(".")
    is_untouched = batch.output_file_id is None and not batch.counts.completed
    if batch.status is not BatchStatus.FAILED or not is_untouched or not _LINE_FIELDS.search(words):
        return
    is_long = profile.line_format == "custom_id+method+url+body"
    if is_long != bool(_TOO_MANY.search(words)):
        return
    other = "custom_id+body" if is_long else "custom_id+method+url+body"
    raise RejectedError(
        f"batch {batch.id} failed before it began: {words}. Its lines have the form {profile.line_format!r}; set "
        f"line_format to {other!r} in the connection's profile and run again (clear wait_for_batch): the requests are "
        "sent in the next attempt. No answer was made, and nothing is paid for"
    )


def deadline_of(
    receipt: Receipt,
    *,
    now: float,
    deadline_seconds: float = DEADLINE_SECONDS,
    schedule: Schedule = NO_SCHEDULE,
) -> float:
    """When the wait for a shard's batch, or for its end after a cancel, is over; epoch seconds."""
    if receipt.cancelled_at is not None:
        # One that was cancelled late has some time to end all the same.
        give_up_at = max(schedule.give_up_at, receipt.cancelled_at + MIN_GRACE_SECONDS)
        return min(receipt.cancelled_at + GRACE_SECONDS, give_up_at)
    return min((receipt.created_at or now) + deadline_seconds, schedule.cancel_at)


def _open(
    shard: ShardFolder,
    client: GreenNodeClient,
    receipt: Receipt,
    batch: Batch,
    *,
    now: float,
    deadline: float,
    pay_twice: bool,
) -> Wait | Done:
    receipt = _note_quiet(shard, receipt, batch, now)
    quiet_since = receipt.quiet.since if receipt.quiet else None
    step = next_step(batch, now=now, deadline=deadline, since=receipt.created_at, quiet_since=quiet_since)
    if isinstance(step, Wait):
        return step
    if step.reason == "ended":
        log.warning(
            "Batch %s is %r, an unknown word; it names a result file and has not changed for %.0f min, so it "
            "counts as ended. To give the word a meaning, set status_words in the connection's profile",
            batch.id,
            batch.raw_status,
            (now - (quiet_since or now)) / 60,
        )
        return step
    if receipt.cancelled_at is None:
        log.warning(
            "Batch %s is still %s after %.0f h; cancelling it, so that its finished answers can be downloaded",
            batch.id,
            batch.raw_status,
            (now - (receipt.created_at or now)) / 3600,
        )
        try:
            client.cancel_batch(batch.id)
        except GreenNodeError as error:
            log.warning("Batch %s could not be cancelled: %s", batch.id, error)
        write_receipt(shard, msgspec.structs.replace(receipt, cancelled_at=now))
        return Wait(MIN_POLL_SECONDS)
    log.error("Batch %s was cancelled and is still %s: its rows are given up", batch.id, batch.raw_status)
    write_receipt(shard, msgspec.structs.replace(receipt, lost="overdue", pays_twice=pay_twice))
    return Done("overdue", batch.status.name)


def _note_quiet(shard: ShardFolder, receipt: Receipt, batch: Batch, now: float) -> Receipt:
    """Record since when a batch that may have ended with an unknown status word has not changed."""
    if not may_be_over(batch) or (receipt.quiet is not None and receipt.quiet.state == state_of(batch)):
        return receipt
    return write_receipt(shard, msgspec.structs.replace(receipt, quiet=Quiet(state_of(batch), now)))


def _claim_before(shard: ShardFolder) -> int:
    """The claim that created the batch of a receipt from an earlier version, or from a person."""
    last = latest_claim(shard)
    return last.number if last is not None else 0


def _over_capacity(
    shard: ShardFolder, client: GreenNodeClient, receipt: Receipt, batch: Batch, claim: int, *, now: float
) -> SendAgain:
    words = "; ".join(batch.errors[:3])
    refused = receipt.refused
    if is_enqueued_limit(batch.error_codes, words):
        refused = noted_refusal(shard, client, receipt, words, limit_in(words), now=now)
    pause = pause_seconds(len(receipt.over_capacity) + 1)
    log.warning(
        "Batch %s was refused for lack of capacity (%s). Nothing was paid; its file is sent again in %.0f s",
        batch.id,
        words,
        pause,
    )
    if claim:
        # The batch of that create is known and over: the next create need not search for it.
        release_claim(shard, claim)
    again = Receipt(
        shard_id=receipt.shard_id,
        state="uploaded",
        file_id=receipt.file_id,
        server=receipt.server,
        uploaded_at=receipt.uploaded_at,
        over_capacity=(*receipt.over_capacity, batch.id),
        number=receipt.number,
        by_hand=receipt.by_hand,
        refused=refused,
    )
    write_receipt(shard, again)
    return SendAgain(pause)


def _missing(
    shard: ShardFolder, client: GreenNodeClient, receipt: Receipt, error: ApiError, *, now: float, since: float | None
) -> Wait | Done:
    since = min(filter(None, (since, receipt.missing_since, now)))
    if receipt.missing_since != since:
        receipt = write_receipt(shard, msgspec.structs.replace(receipt, missing_since=since))
    step = when_missing(since, now=now)
    if isinstance(step, Wait) or _is_listed(client, receipt):
        log.warning("%s. Polling again: a batch may be missing for a while", error)
        return step if isinstance(step, Wait) else Wait(FORGOTTEN_SECONDS / 10)
    log.error(
        "The server has not found batch %s for %.0f minutes: its answers are lost", receipt.batch_id, (now - since) / 60
    )
    write_receipt(shard, msgspec.structs.replace(receipt, lost="forgotten"))
    return Done("forgotten")


def _is_listed(client: GreenNodeClient, receipt: Receipt) -> bool:
    """Whether the server's list still has the batch that it does not find by its id."""
    if not client.profile.can_list_batches:
        return False
    try:
        return any(batch.id == receipt.batch_id for batch in client.list_batches())
    except ApiError:
        return False
