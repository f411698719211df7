"""What is known of a server's list outlives the run that has seen it, and is of one way to ask for it."""

import dataclasses

import pytest

from greennode_batch.api.profile import ApiProfile
from greennode_batch.state.list_memory import ListMemory


@pytest.fixture
def shard(make_shard):
    return make_shard()


def test_what_one_run_notes_another_run_knows(shard, make_shard):
    ListMemory(shard, "host", ApiProfile()).note("created", now=5.0)
    memory = ListMemory(make_shard("other"), "host", ApiProfile())
    assert (memory.knows("created"), memory.knows("shown")) == (True, False)
    memory.note("created", now=6.0)


def test_it_is_of_one_host_and_of_one_way_to_ask(shard):
    ListMemory(shard, "host", ApiProfile()).note("shown", now=5.0)
    with_header = dataclasses.replace(ApiProfile(), extra_headers={"x-provider": "a"})
    assert not ListMemory(shard, "other", ApiProfile()).knows("shown")
    assert not ListMemory(shard, "host", with_header).knows("shown")
    same_list = dataclasses.replace(ApiProfile(), status_words={"PARTIAL": "completed"})
    assert ListMemory(shard, "host", same_list).knows("shown")


def test_a_shard_of_no_run_has_no_memory_but_its_own(shard, tmp_path):
    shard.run.plan.unlink()
    memory = ListMemory(shard, "host", ApiProfile())
    memory.note("shown", now=5.0)
    assert memory.knows("shown")
    assert not ListMemory(shard, "host", ApiProfile()).knows("shown")
