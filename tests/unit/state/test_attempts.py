"""Which shards the attempts of a run send, as retry, clean-up, report and monitor see them."""

import pytest

from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.attempts import (
    OverBudget,
    RetryPlan,
    RetryShard,
    SentShard,
    all_sent,
    attempt_shards,
    planned_shards,
    sent_shards,
    settling_shards,
)
from greennode_batch.state.plan import LongestRequest, Plan, PlannedShard

STOP = OverBudget(max_cost=1_000, actual_cost=900.4, expected=250.0, requests=1_234, currency="VND")


@pytest.fixture
def plan():
    shards = (
        PlannedShard("a", "m", 2, 3, 10, 1),
        PlannedShard("b", "n", 0, 1, 0, 0),
        PlannedShard("c", "n", 1, 1, 5, 1),
    )
    return Plan("job", "run", 1.0, ("id",), ("m", "n"), 5, 3, 1, 15, LongestRequest(5, "id = 1"), "h", shards)


@pytest.fixture
def run(tmp_path):
    run = run_folder(tmp_path, "dag", "run")
    write_json(
        run.retry(2), RetryPlan(2, 1.0, (RetryShard("d", "m", 1, 5, ("a",)), RetryShard("e", "n", 1, 5, ("c",))))
    )
    write_json(run.retry(3), RetryPlan(3, 1.0, (RetryShard("f", "m", 1, 5, ("a",)),)))
    return run


def test_a_shard_without_requests_is_planned_and_never_sent(run, plan):
    assert [one.shard_id for one in planned_shards(plan)] == ["a", "b", "c"]
    assert sent_shards(run, plan, 1) == [SentShard(1, "a", "m", 2, ("a",)), SentShard(1, "c", "n", 1, ("c",))]


def test_later_attempts_follow_with_the_shards_that_their_requests_stem_from(run, plan):
    assert [(one.attempt, one.shard_id, one.origins) for one in all_sent(run, plan)] == [
        (1, "a", ("a",)),
        (1, "c", ("c",)),
        (2, "d", ("a",)),
        (2, "e", ("c",)),
        (3, "f", ("a",)),
    ]
    assert sent_shards(run, plan, 4) == []


def test_each_lies_in_the_folder_of_its_attempt(run, plan):
    assert list(map(str, attempt_shards(run, plan, 2))) == [str(run.shard(name, attempt=2)) for name in "de"]
    assert [str(shard) for shard, _ in settling_shards(run, "a")] == [
        str(run.shard("a")),
        str(run.shard("d", attempt=2)),
        str(run.shard("f", attempt=3)),
    ]


def test_the_last_attempt_before_the_budget_stopped_the_next_one_says_so(run):
    write_json(run.retry(4), RetryPlan(4, 1.0, (), over_budget=STOP))
    assert [why for _, why in settling_shards(run, "a")] == [None, None, "over budget (max_cost 1,000 VND); attempt 3"]


def test_over_the_budget_the_numbers_are_told():
    assert str(STOP) == (
        "over budget (max_cost 1,000 VND): 900 VND are spent, and sending 1,234 requests again would cost about 250 VND"
    )
