"""Receipts: how far a shard's batch is. The receipt is the truth; the server's list is the second witness.

    receipt.json     uploaded(file_id) -> created(batch_id) -> collected
    creating.1.json  the first create is about to be sent; creating.2.json: the second, …

Before a create is sent its intent is written, so that whoever comes after a kill knows to look first.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from greennode_batch.staging import ShardFolder, create_exclusive, read_json, write_json

_CLAIM_NAME = re.compile(r"creating\.(\d+)\.json")


class Receipt(msgspec.Struct, frozen=True):
    """receipt.json. Times are epoch seconds."""

    shard_id: str
    state: Literal["uploaded", "created", "collected"]
    file_id: str
    batch_id: str | None = None
    uploaded_at: float | None = None
    created_at: float | None = None


class Claim(msgspec.Struct, frozen=True):
    """creating.<n>.json: somebody is about to send a create for this shard, or was when they were stopped.

    `released`: the create was refused for certain, so the next one need not look for its batch.
    """

    token: str
    file_id: str
    claimed_at: float
    released: bool = False


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
    numbers = [int(match[1]) for path in shard.path.iterdir() if (match := _CLAIM_NAME.fullmatch(path.name))]
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
