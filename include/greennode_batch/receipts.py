"""Receipts: how far a shard's batch is. The receipt is the truth; the server's list is the second witness.

    uploaded(file_id) -> creating -> created(batch_id) -> collected

Before a create is sent its intent is written, so that whoever comes after a kill knows to look first.
"""

from __future__ import annotations

import time
import uuid
from typing import Literal

import msgspec

from greennode_batch.staging import ShardFolder, create_exclusive, read_json, write_json


class Receipt(msgspec.Struct, frozen=True):
    """receipt.json. Times are epoch seconds."""

    shard_id: str
    state: Literal["uploaded", "created", "collected"]
    file_id: str
    batch_id: str | None = None
    uploaded_at: float | None = None
    created_at: float | None = None


class Claim(msgspec.Struct, frozen=True):
    """creating.json: somebody is about to send a create for this shard, or was when they were stopped."""

    token: str
    file_id: str
    claimed_at: float


def read_receipt(shard: ShardFolder) -> Receipt | None:
    """The shard's receipt, or None if nothing was uploaded yet."""
    return read_json(shard.receipt, Receipt)


def write_receipt(shard: ShardFolder, receipt: Receipt) -> Receipt:
    """Replace the shard's receipt, whole."""
    write_json(shard.receipt, receipt)
    return receipt


def read_claim(shard: ShardFolder) -> Claim | None:
    """The claim on creating the shard's batch, or None if nobody holds it."""
    return read_json(shard.claim, Claim)


def claim_create(shard: ShardFolder, file_id: str) -> bool:
    """Claim the right to create the shard's batch; False if somebody has it. Exclusive on local disk."""
    claim = Claim(token=uuid.uuid4().hex, file_id=file_id, claimed_at=time.time())
    return create_exclusive(shard.claim, claim)


def release_claim(shard: ShardFolder) -> None:
    """Give the claim back: the create was refused for certain, or was looked for long enough and is not there."""
    shard.claim.unlink(missing_ok=True)
