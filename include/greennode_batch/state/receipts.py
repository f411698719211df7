"""Receipts: how far a shard's batch is. The receipt is the truth; the server's list is the second witness.

    uploading.json   an upload was begun
    receipt.json     uploaded(file_id) -> created(batch_id) -> collected
    creating.1.json  the first create is about to be sent; creating.2.json: the second, …

Before a create is sent its intent is written, so that whoever comes after a kill knows to look first.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import ShardFolder, fresh_names, read_json, write_json
from greennode_batch.state.document import Document

_CLAIM_NAME = re.compile(r"creating\.(\d+)\.json")


class EndedBatch(msgspec.Struct, frozen=True):
    """How a batch ended, as the server said it, for whoever reads its files again. status: a BatchStatus by name."""

    status: str
    raw_status: str
    completed_at: float | None = None
    errors: tuple[str, ...] = ()


class Receipt(Document, frozen=True):
    """receipt.json: how far a shard's batch is. Times are epoch seconds.

    server: the host that has the file and the batch. turned_away: batches of this file that the server ended for want
    of room, before they began; none of them is the shard's. missing_since: when the server first said that it does
    not know the batch, if that is what it says now. unreadable_since: when a file of results that the batch names could
    first not be read. cancelled_at: when it was cancelled at its deadline. lost: the
    batch will tell nothing any more, for the server has `forgotten` it, or it is `overdue`: cancelled and still open.
    ended: how the batch ended, once that was seen by who fetches its files.
    statuses, prompt_tokens, completion_tokens: of its requests, once it is collected, for whoever wants to know how a
    run stands without reading its results.
    """

    shard_id: str
    state: Literal["uploaded", "created", "collected"]
    file_id: str
    server: str = ""
    batch_id: str | None = None
    uploaded_at: float | None = None
    created_at: float | None = None
    turned_away: tuple[str, ...] = ()
    missing_since: float | None = None
    unreadable_since: float | None = None
    cancelled_at: float | None = None
    lost: Literal["forgotten", "overdue"] | None = None
    ended: EndedBatch | None = None
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Claim(Document, frozen=True):
    """creating.<n>.json: somebody is about to send a create for this shard, or was when they were stopped.

    `released`: the create was refused for certain, so the next one need not look for its batch. `withdrawn`: the
    shard is not to be sent any more, for the run was built anew without it.
    """

    token: str
    file_id: str
    claimed_at: float
    released: bool = False
    withdrawn: bool = False


class HeldClaim(NamedTuple):
    """A claim and its number. A number is never used again: to take over from claim 1 is to be the first to write 2."""

    number: int
    claim: Claim


def read_receipt(shard: ShardFolder) -> Receipt | None:
    """The shard's receipt, or None if nothing was uploaded yet."""
    return read_json(shard.receipt, Receipt)


def write_receipt(shard: ShardFolder, receipt: Receipt) -> Receipt:
    """Replace the shard's receipt, whole."""
    write_json(shard.receipt, receipt)
    return receipt


def first_receipt(shard: ShardFolder, receipt: Receipt) -> Receipt:
    """Write the shard's first receipt, or return the one that another worker wrote before."""
    if create_exclusive(shard.receipt, receipt):
        return receipt
    return read_receipt(shard) or write_receipt(shard, receipt)


def latest_claim(shard: ShardFolder) -> HeldClaim | None:
    """The last claim on creating the shard's batch, or None if there never was one."""
    numbers = [int(match[1]) for name in fresh_names(shard.path) if (match := _CLAIM_NAME.fullmatch(name))]
    if not numbers:
        return None
    number = max(numbers)
    claim = read_json(shard.claim(number), Claim)
    assert claim is not None, "claims are never removed"
    return HeldClaim(number, claim)


def take_claim(shard: ShardFolder, held: HeldClaim) -> bool:
    """Claim the right to create the shard's batch; False if somebody has taken this number before."""
    return create_exclusive(shard.claim(held.number), held.claim)


def release_claim(shard: ShardFolder, held: HeldClaim) -> None:
    """Give the claim back: the create was refused for certain, so nothing runs and nothing is paid."""
    write_json(shard.claim(held.number), msgspec.structs.replace(held.claim, released=True))


def is_sent(shard: ShardFolder) -> bool:
    """Whether the shard has a batch, or may have one: what was paid for must stay as it is."""
    receipt = read_receipt(shard)
    if receipt is not None and receipt.batch_id is not None:
        return True
    last = latest_claim(shard)
    return last is not None and not last.claim.released


def withdraw(shard: ShardFolder, *, now: float) -> bool:
    """Take back a shard that is not to be sent any more; False if somebody is sending it, or has.

    It is a claim like any other, so a worker that is about to create the batch and this call cannot both win.
    """
    # Looked at first: a claim that is taken after this has the number that is tried below, or is seen by is_sent.
    last = latest_claim(shard)
    if is_sent(shard):
        return False
    if last is not None and last.claim.withdrawn:
        return True
    claim = Claim("builder", "", now, released=True, withdrawn=True)
    return take_claim(shard, HeldClaim(last.number + 1 if last else 1, claim))


def reopen(shard: ShardFolder, *, now: float) -> None:
    """Let a shard be sent again that was withdrawn, for the run was built with it after all."""
    last = latest_claim(shard)
    if last is not None and last.claim.withdrawn:
        take_claim(shard, HeldClaim(last.number + 1, Claim("builder", "", now, released=True)))


class UploadBegun(Document, frozen=True):
    """uploading.json: from now on the store may hold a file of this name and size."""

    name: str
    bytes: int
    began_at: float
