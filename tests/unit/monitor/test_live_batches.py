from contextlib import contextmanager

import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.monitor.live_batches import POLL_SECONDS, LiveBatches


class Later:
    """Runs what was begun when the test says so."""

    def __init__(self):
        self.work = []

    def begin(self, work):
        self.work.append(work)

    def run(self):
        count = len(self.work)
        while self.work:
            self.work.pop()()
        return count


@pytest.fixture
def later():
    return Later()


@pytest.fixture
def now():
    return [1_000_000.0]


@pytest.fixture
def live(emulator, later, now):
    def open_client():
        return GreenNodeClient(emulator.base_url, emulator.api_key, max_tries=1)

    return LiveBatches(open_client, begin=later.begin, clock=lambda: now[0])


@pytest.fixture
def batch_ids(make_scene):
    scene = make_scene([(number, f"text {number}") for number in range(40)])
    scene.submit()
    return [shard.batch_id for shard in scene.staged().shards]


def calls(emulator):
    counted = emulator.ledger(summary=True)["calls"]
    return counted.get("GET /batches", 0) + counted.get("GET /batches/{id}", 0)


def test_who_looks_does_not_wait_for_the_server(live, later, emulator, batch_ids):
    before = calls(emulator)
    assert live.of(batch_ids) == {}
    assert calls(emulator) == before
    later.run()
    found = live.of(batch_ids)
    assert set(found) == set(batch_ids)
    assert sum(batch.done for batch in found.values()) <= 40


def test_one_call_is_made_for_all_batches_and_none_for_some_seconds_after(live, later, emulator, batch_ids, now):
    before = calls(emulator)
    for _ in range(5):
        live.of(batch_ids)
    assert later.run() == 1
    live.of(batch_ids)
    assert later.run() == 0
    assert calls(emulator) == before + 1
    now[0] += POLL_SECONDS
    live.of(batch_ids)
    assert later.run() == 1


def test_a_server_that_is_down_leaves_what_was_known_and_says_why(live, later, emulator, batch_ids, now):
    live.of(batch_ids)
    later.run()
    emulator.faults([{"kind": "status", "endpoint": "GET /batches", "status": 503}])
    now[0] += POLL_SECONDS
    live.of(batch_ids)
    later.run()
    assert set(live.of(batch_ids)) == set(batch_ids)
    assert "503" in live.problem
    now[0] += POLL_SECONDS
    live.of(batch_ids)
    later.run()
    assert live.problem is None


def test_a_batch_that_the_list_does_not_show_is_looked_up(live, later, emulator, batch_ids):
    live.of([*batch_ids[:1], "batch_unknown"])
    later.run()
    assert set(live.of([*batch_ids, "batch_unknown"])) == {batch_ids[0]}
    assert live.problem is None


def test_what_was_just_acted_on_is_asked_for_at_once(live, later, batch_ids):
    live.of(batch_ids)
    later.run()
    live.ask_soon()
    assert set(live.of(batch_ids)) == set(batch_ids), "what is known stays known"
    assert later.run() == 1


def test_what_went_wrong_when_nobody_looked_is_no_problem_of_today(live, later, emulator, batch_ids, now):
    emulator.faults([{"kind": "status", "endpoint": "GET /batches", "status": 503}])
    live.of(batch_ids)
    later.run()
    assert "503" in live.problem
    now[0] += 3600
    live.of(batch_ids)
    assert live.problem is None


def test_a_connection_that_cannot_be_used_is_told_without_its_words(later, now):
    @contextmanager
    def broken():
        raise RuntimeError("password=hunter2")
        yield

    live = LiveBatches(broken, begin=later.begin, clock=lambda: now[0])
    live.of(["batch_1"])
    later.run()
    assert "RuntimeError" in live.problem
    assert "hunter2" not in live.problem


def test_nothing_under_way_asks_nothing(live, later):
    assert live.of([]) == {}
    assert later.run() == 0
