import pytest

from greennode_batch.batches.credit import submit_on_credit
from greennode_batch.errors import CreditError
from greennode_batch.staging.folders import ShardFolder

NO_CREDIT = {"endpoint": "POST /batches", "kind": "status", "status": 402, "message": "balance is 0"}


@pytest.fixture
def shards(make_run):
    run, plan = make_run(("id", "text"), [(1, "one"), (2, "two"), (3, "three")], max_shard_requests=1)
    return [run.shard(shard.shard_id) for shard in plan.shards]


def test_the_other_shards_of_the_run_are_not_tried_once_the_credit_is_spent(shards, client, emulator):
    first, second, third = shards
    sent = submit_on_credit(third, client)
    emulator.faults([{**NO_CREDIT, "count": 2}])
    with pytest.raises(CreditError, match=r"balance is 0.*Top up the account, then clear") as refused:
        submit_on_credit(first, client)
    assert refused.value.status == 402
    uploaded = emulator.ledger(summary=True)["files_uploaded"]
    with pytest.raises(CreditError, match=rf"was not tried, because shard {first.shard_id} .*balance is 0.*Top up"):
        submit_on_credit(second, client)
    assert emulator.ledger(summary=True)["files_uploaded"] == uploaded
    assert len(emulator.armed()) == 1
    # What was sent before goes on, and is no sign of new credit.
    assert submit_on_credit(third, client) == sent
    with pytest.raises(CreditError, match="was not tried"):
        submit_on_credit(second, client)


def test_a_cleared_shard_is_tried_and_where_it_is_taken_the_others_are_as_well(shards, client, emulator):
    first, second, third = shards
    emulator.faults([{**NO_CREDIT, "count": 2}])
    with pytest.raises(CreditError):
        submit_on_credit(first, client)
    with pytest.raises(CreditError, match="balance is 0"):
        submit_on_credit(first, client, is_cleared=True)
    submit_on_credit(first, client, is_cleared=True)
    for shard in (second, third):
        submit_on_credit(shard, client)
    assert emulator.ledger(summary=True)["batches_created"] == 3


def test_a_later_attempt_of_the_run_heeds_the_note_and_another_run_does_not(shards, client, emulator, make_shard):
    emulator.faults([{**NO_CREDIT, "count": 1}])
    with pytest.raises(CreditError):
        submit_on_credit(shards[0], client)
    later = shards[1].run.shard(shards[1].shard_id, attempt=2)
    with pytest.raises(CreditError, match="was not tried"):
        submit_on_credit(later, client)
    submit_on_credit(make_shard("other"), client)


def test_a_shard_of_no_run_has_no_note(shards, client, emulator, tmp_path):
    alone = ShardFolder(shards[0].path.parent.parent.parent / "mine" / "alone")
    alone.path.mkdir(parents=True)
    alone.requests.write_bytes(shards[0].requests.read_bytes())
    emulator.faults([{**NO_CREDIT, "count": 1}])
    with pytest.raises(CreditError):
        submit_on_credit(alone, client)
    submit_on_credit(alone, client)
    assert not list(tmp_path.rglob("no_credit.json"))
