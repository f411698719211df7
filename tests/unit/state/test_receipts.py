import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import (
    Claim,
    HeldClaim,
    Receipt,
    is_sent,
    latest_claim,
    release_claim,
    reopen,
    take_claim,
    withdraw,
    write_receipt,
)


def claim(shard, number, *, released=False):
    held = HeldClaim(number, Claim(token="worker", file_id="file-1", claimed_at=1.0, released=released))
    assert take_claim(shard, held)
    return held


def test_a_shard_is_sent_from_the_claim_on_until_the_create_is_refused(make_shard):
    shard = make_shard()
    assert not is_sent(shard)
    write_receipt(shard, Receipt(shard.shard_id, "uploaded", "file-1"))
    assert not is_sent(shard)
    held = claim(shard, 1)
    assert is_sent(shard)
    release_claim(shard, held)
    assert not is_sent(shard)
    write_receipt(shard, Receipt(shard.shard_id, "created", "file-1", batch_id="batch_1"))
    assert is_sent(shard)


def test_what_was_sent_cannot_be_withdrawn(make_shard):
    shard = make_shard()
    claim(shard, 1)
    assert not withdraw(shard, now=2.0)
    assert latest_claim(shard).number == 1


def test_what_is_withdrawn_is_so_until_it_is_opened_again(make_shard):
    shard = make_shard()
    claim(shard, 1, released=True)
    for _ in range(2):
        assert withdraw(shard, now=2.0)
        assert latest_claim(shard).claim.withdrawn
        assert not is_sent(shard)
    assert latest_claim(shard).number == 2
    for _ in range(2):
        reopen(shard, now=3.0)
        assert not latest_claim(shard).claim.withdrawn
        assert not is_sent(shard)
    assert latest_claim(shard).number == 3
    assert withdraw(shard, now=4.0)


def test_opening_what_was_never_withdrawn_leaves_no_trace(make_shard):
    shard = make_shard()
    reopen(shard, now=1.0)
    assert latest_claim(shard) is None
    claim(shard, 1)
    reopen(shard, now=1.0)
    assert latest_claim(shard).claim.token == "worker"


class Interrupted(ShardFolder):
    """A shard in which something happens when a claim's file is about to be read or written for the n-th time."""

    def __init__(self, shard, *, at, event):
        super().__init__(shard.path)
        self._left = at
        self._event = event

    def claim(self, number):
        self._left -= 1
        if self._left == 0:
            self._event()
        return super().claim(number)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_worker_that_claims_while_a_shard_is_being_withdrawn_is_not_overruled(make_shard, at):
    shard = make_shard()
    claim(shard, 1, released=True)
    assert not withdraw(Interrupted(shard, at=at, event=lambda: claim(shard, 2)), now=2.0)
    last = latest_claim(shard)
    assert (last.number, last.claim.token) == (2, "worker")


@pytest.mark.parametrize("attempt", range(10))
def test_of_workers_who_claim_and_builders_who_withdraw_at_once_one_side_wins(make_shard, attempt):
    shard = make_shard()
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        if number % 2:
            return withdraw(shard, now=1.0)
        return take_claim(shard, HeldClaim(1, Claim(token=f"worker {number}", file_id="file-1", claimed_at=1.0)))

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(work, range(8)))
    claimed, withdrawn = sum(won[0::2]), sum(won[1::2])
    assert is_sent(shard) == (claimed == 1)
    assert claimed + (withdrawn > 0) == 1
