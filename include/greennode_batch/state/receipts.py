"""Receipts: how far a shard's batch is. The receipt is the truth; the server's list is the second witness.

    uploading.json    an upload was begun
    receipt.1.json    uploaded(file_id) -> created(batch_id) -> collected: each change is the next receipt
    creating.1.json   the first create is about to be sent; creating.2.json: the second, …
    released.1.json   nothing runs of the first create, or its batch is known and over

Before a create is sent its intent is written, so that whoever comes after a kill knows to look first.

No receipt and no claim is ever overwritten. A worker writes the receipt that follows the one that it has read, and
only if nobody else has: one that wakes late finds that number taken, and reads again. The latest receipt counts. A
person may change it by hand, or write `receipt.json` (what the version before wrote), which counts from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from upath import UPath

from greennode_batch.errors import RetryableError
from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import ShardFolder, fresh_names, numbered, read_json, write_json
from greennode_batch.state.document import Document

_BY_HAND = "receipt.json"


class OvertakenError(RetryableError):
    """Another worker has gone on with the shard since this one read how far it is; nothing was written."""


class EndedBatch(msgspec.Struct, frozen=True):
    """How a batch ended, as the server said it, for whoever reads its files again. status: a BatchStatus by name."""

    status: str
    raw_status: str
    completed_at: float | None = None
    errors: tuple[str, ...] = ()


class Receipt(Document, frozen=True):
    """receipt.<n>.json: how far a shard's batch is. Times are epoch seconds.

    number: its place among the shard's receipts, as its file has it; 0 for a receipt.json. by_hand: the hash of the
    receipt.json that was there when this one was written, so that one that is written later is known as such.
    claim: the number of the claim that created the batch; 0 where that was not noted.
    server: the host that has the file and the batch. over_capacity: batches of this file that the server ended for want
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
    over_capacity: tuple[str, ...] = msgspec.field(default=(), name="turned_away")
    missing_since: float | None = None
    unreadable_since: float | None = None
    cancelled_at: float | None = None
    lost: Literal["forgotten", "overdue"] | None = None
    ended: EndedBatch | None = None
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    claim: int = 0
    number: int = 0
    by_hand: str = ""


class Claim(Document, frozen=True):
    """creating.<n>.json: somebody is about to send a create for this shard, or was when they were stopped.

    `released`: the create was refused for certain, so the next one need not look for its batch. `withdrawn`: the
    shard is not to be sent any more, for the run was built again without it, in this `turn`.
    """

    token: str
    file_id: str
    claimed_at: float
    released: bool = False
    withdrawn: bool = False
    turn: int = 0


class NumberedClaim(NamedTuple):
    """A claim and its number. A number is never used again: to take over from claim 1 is to be the first to write 2."""

    number: int
    claim: Claim


class Released(Document, frozen=True):
    """released.<n>.json: nothing runs of the n-th create, or its batch is known and over: nobody need look for it."""


def read_receipt(shard: ShardFolder) -> Receipt | None:
    """The shard's receipt, or None if nothing was uploaded yet."""
    return _receipt_among(shard, fresh_names(shard.path))


def receipt_names(names: Collection[str]) -> list[str]:
    """Which of a shard's files tell its receipt: one that was written by hand, and the latest of its own."""
    found = numbered(names, "receipt")
    return [*([_BY_HAND] if _BY_HAND in names else []), *([found[max(found)]] if found else [])]


def receipt_of(found: Mapping[str, Receipt | None]) -> Receipt | None:
    """The receipt that counts; found: what is in each of those files, by name."""
    name = _counting(found)
    receipt = found[name] if name is not None else None
    if receipt is None:
        return None
    by_hand = _hash_of(receipt) if name == _BY_HAND else receipt.by_hand
    number = max(numbered(found, "receipt"), default=0)
    return msgspec.structs.replace(receipt, number=number, by_hand=by_hand)


def receipt_path(shard: ShardFolder) -> UPath:
    """The file that tells the shard's receipt, for a person to change."""
    names = receipt_names(fresh_names(shard.path))
    return shard.path / (_counting({name: read_json(shard.path / name, Receipt) for name in names}) or _BY_HAND)


def _counting(found: Mapping[str, Receipt | None]) -> str | None:
    by_hand = found.get(_BY_HAND)
    latest = next((name for name, receipt in found.items() if name != _BY_HAND and receipt is not None), None)
    if by_hand is None or latest is None:
        return latest if by_hand is None else _BY_HAND
    told = found[latest]
    return latest if told is not None and told.by_hand == _hash_of(by_hand) else _BY_HAND


def write_receipt(shard: ShardFolder, receipt: Receipt) -> Receipt:
    """Write what follows the receipt that was read, or changed, as the next one.

    Raises OvertakenError if another worker has written that number before.
    """
    written = msgspec.structs.replace(receipt, number=receipt.number + 1)
    if not create_exclusive(shard.path / f"receipt.{written.number}.json", written):
        raise OvertakenError(
            f"shard {shard.shard_id}: another worker has gone on with it meanwhile, so this one has written nothing"
        )
    return written


def note_of_batch(shard: ShardFolder, receipt: Receipt, **fields: Any) -> Receipt:
    """Write down what has become known of a receipt's batch, whatever else was written of it since.

    Raises OvertakenError if the shard has another batch by now.
    """
    latest: Receipt | None = receipt
    while latest is not None and latest.batch_id == receipt.batch_id:
        told = msgspec.structs.replace(latest, **fields)
        try:
            return latest if told == latest else write_receipt(shard, told)
        except OvertakenError:
            latest = read_receipt(shard)
    raise OvertakenError(
        f"shard {shard.shard_id} is not batch {receipt.batch_id} any more: another worker sent it again"
    )


def first_receipt(shard: ShardFolder, receipt: Receipt) -> Receipt:
    """Write the shard's first receipt, or return the one that another worker wrote before."""
    try:
        return write_receipt(shard, receipt)
    except OvertakenError:
        written = read_receipt(shard)
        if written is None:
            raise
        return written


def latest_claim(shard: ShardFolder) -> NumberedClaim | None:
    """The last claim on creating the shard's batch, or None if there never was one."""
    return _claim_among(shard, fresh_names(shard.path))


def _receipt_among(shard: ShardFolder, names: list[str]) -> Receipt | None:
    return receipt_of({name: read_json(shard.path / name, Receipt) for name in receipt_names(names)})


def _claim_among(shard: ShardFolder, names: list[str]) -> NumberedClaim | None:
    number = max(numbered(names, "creating"), default=0)
    if not number:
        return None
    claim = read_json(shard.claim(number), Claim)
    assert claim is not None, "claims are never removed"
    if f"released.{number}.json" in names:
        claim = msgspec.structs.replace(claim, released=True)
    return NumberedClaim(number, claim)


def _hash_of(receipt: Receipt) -> str:
    return hashlib.blake2b(msgspec.json.encode(receipt), digest_size=8).hexdigest()


def take_claim(shard: ShardFolder, held: NumberedClaim) -> bool:
    """Claim the right to create the shard's batch; False if somebody has taken this number before."""
    return create_exclusive(shard.claim(held.number), held.claim)


def release_claim(shard: ShardFolder, number: int) -> None:
    """Give a claim back: its create was refused for certain, or its batch is over. Either stays true for good."""
    write_json(shard.path / f"released.{number}.json", Released())


def is_sent(shard: ShardFolder) -> bool:
    """Whether the shard has a batch, or may have one: what was paid for must stay as it is."""
    names = fresh_names(shard.path)
    receipt = _receipt_among(shard, names)
    if receipt is not None and receipt.batch_id is not None:
        return True
    last = _claim_among(shard, names)
    return last is not None and not last.claim.released


def withdraw(shard: ShardFolder, *, now: float, turn: int) -> bool:
    """Take back a shard that is not to be sent any more; False if somebody is sending it, or has.

    It is a claim like any other, so a worker that is about to create the batch and this call cannot both win. turn: of
    the build that does without it; a later build that plans it overrules this (`state.withdrawn`).
    """
    # Looked at first: a claim that is taken after this has the number that is tried below, or is seen by is_sent.
    last = latest_claim(shard)
    if is_sent(shard):
        return False
    if last is not None and last.claim.withdrawn and last.claim.turn >= turn:
        return True
    claim = Claim("builder", "", now, released=True, withdrawn=True, turn=turn)
    return take_claim(shard, NumberedClaim(last.number + 1 if last else 1, claim))


class UploadBegun(Document, frozen=True):
    """uploading.json: from now on the store may hold a file of this name and size."""

    name: str
    bytes: int
    began_at: float
