from upath import UPath

from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.live_share import LiveShare
from greennode_batch.collect.collect import collect_shard
from greennode_batch.state.live_answers import LiveFolder


def test_a_shard_in_an_object_store_is_answered_live(bucket, make_shard, client, emulator):
    shard = make_shard(UPath(str(bucket), **bucket.storage_options) / "staging")
    receipt = answer_live(shard, client)
    assert receipt.live.answered == receipt.live.requests == emulator.ledger()["chat_requests_billed"]
    settled, lost = LiveFolder(shard).settled()
    assert (len(settled), lost) == (receipt.live.answered, 0)
    shard.output.unlink()
    assert collect_shard(shard, client, None).total() == receipt.live.answered
    assert answer_live(shard, client).state == "collected"


def test_workers_are_counted_by_the_stores_own_clock(bucket):
    root = UPath(str(bucket), **bucket.storage_options) / "staging"
    first, second = LiveShare(root, "c"), LiveShare(root, "c")
    assert (first(), second()) == (1, 2)
    second.leave()
    assert first() == 1
