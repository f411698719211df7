import json
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from greennode_batch.staging.folders import ShardFolder
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
    withdraw,
    write_receipt,
)


def claim(shard, number, *, released=False):
    held = NumberedClaim(number, Claim(token="worker", file_id="file-1", claimed_at=1.0, released=released))
    assert take_claim(shard, held)
    return held


def test_a_shard_is_sent_from_the_claim_on_until_the_create_is_refused(make_shard):
    shard = make_shard()
    assert not is_sent(shard)
    uploaded = write_receipt(shard, Receipt(shard.shard_id, "uploaded", "file-1"))
    assert not is_sent(shard)
    held = claim(shard, 1)
    assert is_sent(shard)
    release_claim(shard, held.number)
    assert not is_sent(shard)
    write_receipt(shard, msgspec.structs.replace(uploaded, state="created", batch_id="batch_1"))
    assert is_sent(shard)


def test_what_was_sent_cannot_be_withdrawn(make_shard):
    shard = make_shard()
    claim(shard, 1)
    assert not withdraw(shard, now=2.0, turn=1)
    assert latest_claim(shard).number == 1


def test_what_is_withdrawn_is_so_once_for_each_build_that_does_without_it(make_shard):
    shard = make_shard()
    claim(shard, 1, released=True)
    for number, turn in ((2, 1), (2, 1), (3, 2), (3, 1)):
        assert withdraw(shard, now=2.0, turn=turn)
        assert latest_claim(shard).claim.withdrawn
        assert not is_sent(shard)
        assert latest_claim(shard).number == number


def test_of_two_that_follow_one_receipt_the_second_writes_nothing(make_shard):
    shard = make_shard()
    read = write_receipt(shard, Receipt(shard.shard_id, "uploaded", "file-1"))
    created = write_receipt(shard, msgspec.structs.replace(read, state="created", batch_id="batch_1"))
    with pytest.raises(OvertakenError, match="another worker has changed its receipt"):
        write_receipt(shard, msgspec.structs.replace(read, file_id="file-2"))
    assert read_receipt(shard) == created


def test_what_is_known_of_a_batch_is_kept_beside_what_another_worker_has_written_of_it(make_shard):
    shard = make_shard()
    read = write_receipt(shard, Receipt(shard.shard_id, "created", "file-1", batch_id="batch_1"))
    write_receipt(shard, msgspec.structs.replace(read, missing_since=1.0))
    note_of_batch(shard, read, state="collected", statuses={"succeeded": 2})
    last = read_receipt(shard)
    assert (last.state, last.missing_since, last.statuses) == ("collected", 1.0, {"succeeded": 2})
    assert note_of_batch(shard, last, missing_since=1.0) == last, "what is known already is not written again"
    write_receipt(shard, msgspec.structs.replace(last, state="uploaded", batch_id=None, over_capacity=("batch_1",)))
    with pytest.raises(OvertakenError, match="no longer has batch batch_1"):
        note_of_batch(shard, read, cancelled_at=2.0)


@pytest.mark.parametrize("by", ["the version before", "a person, later"])
def test_a_receipt_json_counts_from_when_it_is_written_until_the_next_receipt(make_shard, by):
    shard = make_shard()
    if by != "the version before":
        first = write_receipt(shard, Receipt(shard.shard_id, "uploaded", "file-1"))
        write_receipt(shard, msgspec.structs.replace(first, state="created", batch_id="batch_1"))
    shard.receipt.write_text(json.dumps({"shard_id": shard.shard_id, "state": "uploaded", "file_id": "by hand"}))
    told = read_receipt(shard)
    assert (told.file_id, told.batch_id) == ("by hand", None)
    assert receipt_path(shard) == shard.receipt
    created = write_receipt(shard, msgspec.structs.replace(told, state="created", batch_id="batch_2"))
    assert read_receipt(shard) == created
    assert receipt_path(shard).name == f"receipt.{created.number}.json"
    text = json.loads(shard.receipt.read_text())
    shard.receipt.write_text(json.dumps({**text, "state": "created", "batch_id": "batch_3"}))
    assert read_receipt(shard).batch_id == "batch_3"


def test_a_receipt_that_a_person_has_changed_in_its_place_counts(make_shard):
    shard = make_shard()
    write_receipt(shard, Receipt(shard.shard_id, "uploaded", "file-1"))
    path = receipt_path(shard)
    path.write_text(path.read_text().replace('"batch_id": null', '"batch_id": "batch_9"'))
    assert read_receipt(shard).batch_id == "batch_9"


def test_that_a_claim_is_released_stays_true_however_late_it_is_said(make_shard):
    shard = make_shard()
    claim(shard, 1)
    claim(shard, 2)
    release_claim(shard, 1)
    assert (latest_claim(shard).number, latest_claim(shard).claim.released) == (2, False)


class Interrupted(ShardFolder):
    """A shard in which something happens when a claim's file is about to be read or written for the n-th time."""

    def __init__(self, shard, *, at, event):
        super().__init__(shard.path)
        self._orphaned = at
        self._event = event

    def claim(self, number):
        self._orphaned -= 1
        if self._orphaned == 0:
            self._event()
        return super().claim(number)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_worker_that_claims_while_a_shard_is_being_withdrawn_is_not_overruled(make_shard, at):
    shard = make_shard()
    claim(shard, 1, released=True)
    assert not withdraw(Interrupted(shard, at=at, event=lambda: claim(shard, 2)), now=2.0, turn=1)
    last = latest_claim(shard)
    assert (last.number, last.claim.token) == (2, "worker")


@pytest.mark.parametrize("attempt", range(10))
def test_of_workers_who_claim_and_builders_who_withdraw_at_once_one_side_wins(make_shard, attempt):
    shard = make_shard()
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        if number % 2:
            return withdraw(shard, now=1.0, turn=1)
        return take_claim(shard, NumberedClaim(1, Claim(token=f"worker {number}", file_id="file-1", claimed_at=1.0)))

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(work, range(8)))
    claimed, withdrawn = sum(won[0::2]), sum(won[1::2])
    assert is_sent(shard) == (claimed == 1)
    assert claimed + (withdrawn > 0) == 1
