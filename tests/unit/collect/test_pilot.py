import msgspec
import pytest

from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.collect.pilot import open_pilot, refuse_unsettled
from greennode_batch.errors import UnreadResultsError
from greennode_batch.state.confirmed_profile import confirm, is_confirmed, was_read_before
from greennode_batch.state.receipts import read_receipt, write_receipt

NEW = ApiProfile(content_path="/elsewhere/{file_id}")


@pytest.fixture
def pilot(make_run):
    """A run, its plan with a pilot, and that."""
    run, plan = make_run(("id", "text"), [(1, "one"), (2, "two")], max_shard_requests=1)
    plan = msgspec.structs.replace(plan, pilot=plan.shards[0].shard_id)
    return run, plan, run.shard(plan.shards[0].shard_id)


def root_of(run):
    return run.path.parent.parent


def test_a_pilot_is_waited_for_until_results_of_its_host_and_profile_were_read(pilot, client, ended):
    run, plan, shard = pilot
    assert open_pilot(run, plan, client).shard_id == shard.shard_id
    assert open_pilot(run, msgspec.structs.replace(plan, pilot=None), client) is None
    ended(shard)
    collect_shard(shard, client, None)
    assert open_pilot(run, plan, client) is None
    refuse_unsettled(shard, client)


def test_a_pilot_that_settles_nothing_says_how_it_ended_and_the_way_out(pilot, client):
    _, _, shard = pilot
    write_receipt(shard, msgspec.structs.replace(submit(shard, client), lost="forgotten"))
    collect_shard(shard, client, None)
    with pytest.raises(UnreadResultsError, match=r"an end without results.*To send another pilot"):
        refuse_unsettled(shard, client)


def test_a_profile_is_confirmed_for_its_host_and_for_what_decides_over_replies(pilot, client):
    run, _, _ = pilot
    root = root_of(run)
    confirm(root, "one.example", ApiProfile(), now=0.0)
    assert is_confirmed(root, "one.example", ApiProfile(name="other", max_requests=7))
    assert not is_confirmed(root, "two.example", ApiProfile())
    assert not is_confirmed(root, "one.example", NEW)
    assert not was_read_before(root, "one.example", NEW, now=0.0)


def test_what_the_version_before_has_collected_counts_so_that_an_upgrade_adds_no_pilot(pilot, client, ended):
    run, _, shard = pilot
    root = root_of(run)
    assert not was_read_before(root, client.host, NEW, now=0.0)
    # Beside the runs of a DAG, and beside the DAGs, may be files.
    for name in (".usage.json", "run~left.txt"):
        (run.path.parent / name).write_text("{}")
        (root / name).write_text("{}")
    assert not was_read_before(root, client.host, NEW, now=0.0)
    ended(shard)
    collect_shard(shard, client, None)
    for path in (root / ".profiles").iterdir():
        path.unlink()
    assert not was_read_before(root, "elsewhere.example", NEW, now=0.0)
    assert was_read_before(root, client.host, NEW, now=0.0)
    # From then on another profile is one that nobody has tried.
    assert not was_read_before(root, client.host, ApiProfile(), now=0.0)


def test_answers_that_were_lost_confirm_nothing(pilot, client):
    run, _, shard = pilot
    write_receipt(shard, msgspec.structs.replace(submit(shard, client), lost="forgotten"))
    collect_shard(shard, client, None)
    assert read_receipt(shard).state == "collected"
    assert not was_read_before(root_of(run), client.host, client.profile, now=0.0)
