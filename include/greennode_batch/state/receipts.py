"""Receipts: how far a shard's batch is. The receipt is the truth; the server's list only confirms it.

    uploading.json    an upload has begun
    receipt.1.json    uploaded(file_id) -> created(batch_id) -> collected: each change is the next receipt
    creating.1.json   the first create is about to be sent; creating.2.json: the second, …; or the shard is split
    released.1.json   the first create made no batch, or its batch is known and has ended

A shard that is answered live has no batch: see `state.live_answers`.

A claim (creating.<n>.json) records the intent before a create is sent. After a kill, the next worker sees it and
searches for the batch before it sends another create.

No receipt and no claim is ever overwritten. A worker writes the receipt that follows the one it has read, and only if
nobody else has: a worker that wakes late finds the number taken and reads again. The latest receipt counts. A person
may edit it, or write `receipt.json` (the file of the version before), which counts from then on.
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
from greennode_batch.state.live_answers import LIVE_BATCH_ID, LiveAnswers, LiveHold
from greennode_batch.state.split import read_split_begun, rowless_halves_of

_BY_HAND = "receipt.json"


class OvertakenError(RetryableError):
    """Another worker has changed the shard's receipt since this one read it. Nothing was written."""


class EndedBatch(msgspec.Struct, frozen=True):
    """How a batch ended according to the server, so that its files can be read again later."""

    status: str
    """The name of a BatchStatus."""
    raw_status: str
    """The server's own word."""
    completed_at: float | None = None
    errors: tuple[str, ...] = ()


class Quiet(msgspec.Struct, frozen=True):
    """Since when a batch whose status word nobody knows is as it is. state: all of it that may change, in words."""

    state: str
    since: float


class EnqueuedRefusal(msgspec.Struct, frozen=True):
    """The last refusal of a shard because of a limit on enqueued tokens."""

    words: str
    """The server's message."""
    limit: int | None = None
    """The limit that the message names."""
    alone: int = 0
    """How many times in succession the shard was refused while nothing else was enqueued at the server."""


class Receipt(Document, frozen=True):
    """receipt.<n>.json: how far a shard's batch is. Times are epoch seconds."""

    shard_id: str
    state: Literal["uploaded", "created", "answered", "collected"]
    file_id: str
    server: str = ""
    """The host that has the file and the batch."""
    batch_id: str | None = None
    uploaded_at: float | None = None
    created_at: float | None = None
    over_capacity: tuple[str, ...] = msgspec.field(default=(), name="turned_away")
    """Batches of this file that the server ended before they began because it had no capacity; none is the shard's."""
    missing_since: float | None = None
    """When the server first reported that it does not know the batch; None if it knows the batch."""
    unreadable_since: float | None = None
    """When one of the batch's result files could not be read for the first time."""
    cancelled_at: float | None = None
    """When the batch was cancelled at its deadline."""
    lost: Literal["forgotten", "overdue"] | None = None
    """Why no result can come from the batch: the server has `forgotten` it, or it is `overdue` (cancelled, but still
    open).
    """
    ended: EndedBatch | None = None
    """How the batch ended, once the download step has seen it."""
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    """The requests by status, once collected; the monitor reads them here instead of from the results."""
    prompt_tokens: int = 0
    """Of all requests, once collected."""
    completion_tokens: int = 0
    """Of all requests, once collected."""
    claim: int = 0
    """The number of the claim that created the batch; 0 if it was not recorded."""
    number: int = 0
    """The receipt's number, from its file name; 0 for a receipt.json."""
    by_hand: str = ""
    """The hash of the receipt.json that existed when this receipt was written; a different one is newer than it."""
    quiet: Quiet | None = None
    """Since when the batch stands still under a status word that is not known; None if it does not."""
    repeated: tuple[str, ...] = ()
    """More batches of this shard, which a gateway or a late create made beside the one that counts."""
    pays_twice: bool = False
    """Whether the requests of a batch that is overdue are sent again, though it may still be billed."""
    live: LiveAnswers | None = None
    """How the shard was answered live, without a batch."""
    refused: EnqueuedRefusal | None = None
    """How the server last refused the shard because of a limit on enqueued tokens."""

    @property
    def answered_by(self) -> str | None:
        """What the results have as their batch: its id, or `live`."""
        return LIVE_BATCH_ID if self.live is not None else self.batch_id

    @property
    def is_through(self) -> bool:
        """Whether the shard has a batch, or was answered live."""
        return self.batch_id is not None or self.live is not None


class Claim(Document, frozen=True):
    """creating.<n>.json: a worker is about to send a create for this shard, or was when it stopped."""

    token: str
    file_id: str
    claimed_at: float
    """Epoch seconds."""
    released: bool = False
    """Whether the create certainly made no batch, so the next create need not search for one."""
    withdrawn: bool = False
    """Whether the shard must not be sent any more, because a later build left it out."""
    turn: int = 0
    """The turn of the build that withdrew the shard."""
    live: LiveHold | None = None
    """That the shard is answered live, without a batch; None for a create."""
    splits: bool = False
    """Whether the shard is split, which nothing takes back: no create is sent for it from then on."""


class NumberedClaim(NamedTuple):
    """A claim and its number. Numbers are never reused: a worker takes over from claim 1 by writing claim 2 first."""

    number: int
    claim: Claim


class Released(Document, frozen=True):
    """released.<n>.json: the n-th create made no batch, or its batch is known and has ended. No search is needed."""


def read_receipt(shard: ShardFolder) -> Receipt | None:
    """Read the shard's receipt, or None if nothing was uploaded yet."""
    return _receipt_among(shard, fresh_names(shard.path))


def receipt_names(names: Collection[str]) -> list[str]:
    """The receipt files among a shard's files that may count: one written by hand, and the latest numbered one."""
    found = numbered(names, "receipt")
    return [*([_BY_HAND] if _BY_HAND in names else []), *([found[max(found)]] if found else [])]


def receipt_of(found: Mapping[str, Receipt | None]) -> Receipt | None:
    """The receipt that counts. found: the contents of the files that `receipt_names` lists, by name."""
    name = _counting(found)
    receipt = found[name] if name is not None else None
    if receipt is None:
        return None
    by_hand = _hash_of(receipt) if name == _BY_HAND else receipt.by_hand
    number = max(numbered(found, "receipt"), default=0)
    return msgspec.structs.replace(receipt, number=number, by_hand=by_hand)


def receipt_path(shard: ShardFolder) -> UPath:
    """The file with the shard's current receipt, which a person may edit."""
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
    """Write the next receipt. receipt: a changed copy of the one that was read.

    Raises OvertakenError if another worker has already written that number.
    """
    written = msgspec.structs.replace(receipt, number=receipt.number + 1)
    if not create_exclusive(shard.path / f"receipt.{written.number}.json", written):
        raise OvertakenError(
            f"shard {shard.shard_id}: another worker has changed its receipt meanwhile, so this one wrote nothing"
        )
    return written


def note_of_batch(shard: ShardFolder, receipt: Receipt, **fields: Any) -> Receipt:
    """Record facts about a receipt's batch, on top of what other workers have recorded since.

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
        f"shard {shard.shard_id} no longer has batch {receipt.batch_id}: another worker has sent it again"
    )


def first_receipt(shard: ShardFolder, receipt: Receipt) -> Receipt:
    """Write the shard's first receipt, or return the one that another worker has already written."""
    try:
        return write_receipt(shard, receipt)
    except OvertakenError:
        written = read_receipt(shard)
        if written is None:
            raise
        return written


def latest_claim(shard: ShardFolder) -> NumberedClaim | None:
    """Read the last claim to create the shard's batch, or None if there is none."""
    return _claim_among(shard, fresh_names(shard.path))


def live_claims(shard: ShardFolder) -> dict[int, LiveHold]:
    """The claims of the workers that have answered the shard live, by number."""
    found = numbered(fresh_names(shard.path), "creating")
    claims = {number: read_json(shard.claim(number), Claim) for number in sorted(found)}
    return {number: claim.live for number, claim in claims.items() if claim is not None and claim.live is not None}


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
    """Claim the right to create the shard's batch. Returns False if another worker has already taken this number."""
    return create_exclusive(shard.claim(held.number), held.claim)


def is_to_be_split(shard: ShardFolder) -> bool:
    """Whether a worker has decided to split the shard, and perhaps has done so. Then no create may be sent for it."""
    if read_split_begun(shard) is None:
        return False
    numbers = numbered(fresh_names(shard.path), "creating")
    claims = (read_json(shard.claim(number), Claim) for number in numbers)
    return any(claim is not None and claim.splits for claim in claims)


def release_claim(shard: ShardFolder, number: int) -> None:
    """Release a claim whose create certainly made no batch, or whose batch has ended. Both stay true for ever."""
    write_json(shard.path / f"released.{number}.json", Released())


def is_sent(shard: ShardFolder) -> bool:
    """Whether the shard has a batch or may have one. A build must not change such a shard: it may be paid for.

    A shard that was split is sent if one of its halves is.
    """
    names = fresh_names(shard.path)
    receipt = _receipt_among(shard, names)
    if receipt is not None and receipt.is_through:
        return True
    if shard.split.name in names:
        return any(map(is_sent, rowless_halves_of(shard)))
    last = _claim_among(shard, names)
    return last is not None and not last.claim.released


def is_live(shard: ShardFolder) -> bool:
    """Whether the shard is answered live, or was: then it never gets a batch."""
    names = fresh_names(shard.path)
    receipt = _receipt_among(shard, names)
    if receipt is not None and receipt.is_through:
        return receipt.live is not None
    last = _claim_among(shard, names)
    return last is not None and last.claim.live is not None


def withdraw(shard: ShardFolder, *, now: float, turn: int) -> bool:
    """Withdraw a shard that must not be sent any more. Returns False if a worker is sending it or has sent it.

    The withdrawal is a claim like any other, so this call and a worker that is about to create the batch cannot both
    win. turn: the turn of the build that leaves the shard out. A later build that plans the shard overrules it (see
    `state.withdrawn`). The halves of a shard that was split are withdrawn with it.
    """
    # Read first: a claim taken after this either has the number that is tried below, or is seen by is_sent.
    last = latest_claim(shard)
    if is_sent(shard):
        return False
    if last is None or not last.claim.withdrawn or last.claim.turn < turn:
        claim = Claim("builder", "", now, released=True, withdrawn=True, turn=turn)
        if not take_claim(shard, NumberedClaim(last.number + 1 if last else 1, claim)):
            return False
    # Read last: the worker of a half that is split off later sees the claim above before it sends.
    return all(withdraw(half, now=now, turn=turn) for half in rowless_halves_of(shard))


class UploadBegun(Document, frozen=True):
    """uploading.json: an upload has begun, so the API may hold a file of this name and size."""

    name: str
    bytes: int
    began_at: float
    """Epoch seconds."""
