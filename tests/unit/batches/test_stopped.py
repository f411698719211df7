import time

import msgspec
import pytest

from greennode_batch.batches.submit import submit
from greennode_batch.errors import SystematicFailureError, UnreadResultsError
from greennode_batch.state.shard_model import model_of
from greennode_batch.state.stops import Stop, failing_path, lift_stop, note_stop, unread_path

MODELS = ["google/gemma-4-31b-it", "openai/gpt-oss-120b"]


@pytest.fixture
def shards(make_run):
    run, plan = make_run(("id", "text"), [(1, "one")], model=MODELS)
    return [run.shard(shard.shard_id) for shard in plan.shards]


def stop(kind, shard, model=None):
    return Stop(kind, model, shard.shard_id, 1, "the reason, and what to do", (), time.time())


def test_unread_results_stop_every_shard_of_the_run_that_is_not_sent(shards, client, emulator):
    first, second = shards
    receipt = submit(first, client)
    note_stop(unread_path(first), stop("unread_results", first))
    with pytest.raises(UnreadResultsError, match=f"{second.shard_id} is not sent.*the reason, and what to do"):
        submit(second, client)
    assert submit(first, client) == receipt
    assert emulator.ledger()["batches_created"] == 1
    lift_stop(unread_path(first))
    assert submit(second, client).batch_id


def test_a_model_that_fails_systematically_stops_its_own_shards_alone(shards, client):
    first, second = shards
    assert [model_of(shard) for shard in shards] == MODELS
    note_stop(failing_path(first, MODELS[0]), stop("systematic_failure", first, MODELS[0]))
    with pytest.raises(SystematicFailureError, match="the reason, and what to do"):
        submit(first, client)
    assert submit(second, client).batch_id


def test_requests_that_were_built_since_are_sent(shards, client):
    first, _ = shards
    before = msgspec.structs.replace(stop("systematic_failure", first, MODELS[0]), noted_at=0.0)
    note_stop(failing_path(first, MODELS[0]), before)
    assert submit(first, client).batch_id


def test_a_shard_that_is_in_no_run_heeds_its_own_stops(shards, client):
    lone = type(shards[0])(shards[0].run.path.parent.parent / "lone")
    lone.path.mkdir()
    lone.requests.write_bytes(shards[0].requests.read_bytes())
    note_stop(unread_path(lone), stop("unread_results", lone))
    assert unread_path(lone).parent.parent == lone.path
    with pytest.raises(UnreadResultsError):
        submit(lone, client)
