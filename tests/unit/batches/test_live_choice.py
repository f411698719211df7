import dataclasses
from datetime import timedelta

import pytest

from greennode_batch.batches.live_choice import goes_live, live_seconds, schedule_of
from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.submit import submit
from greennode_batch.cost.estimated_plan import estimate_again
from greennode_batch.errors import BudgetError, ConfigError
from greennode_batch.job.budget import Budget
from greennode_batch.job.live_mode import Live
from greennode_batch.job.prices import read_prices
from greennode_batch.state.canaries import Canary, write_canaries
from greennode_batch.state.plan import read_plan

HOURS_6 = timedelta(hours=6)


@pytest.fixture
def made(make_run, make_job):
    """(job, shard) of a run of three requests."""

    def make(live=None, **options):
        run, plan = make_run(("id", "text"), [(1, "a"), (2, "b"), (3, "c")], params={"max_tokens": 100})
        prices = read_prices({plan.models[0]: [1_000_000, 1_000_000]})
        estimate_again(plan, run, prices)
        job = make_job(live=live, **options)
        return job, run.shard(plan.shards[0].shard_id)

    return make


@pytest.mark.parametrize(
    ("live", "is_live"),
    [
        (None, False),
        (Live(), False),
        (Live(under=3), False),
        (Live(under=4), True),
        (Live(only=True), True),
        (Live(finish_by=HOURS_6), False),
        (Live(finish_by=timedelta(seconds=1)), True),
    ],
)
def test_the_job_says_what_goes_live(made, live, is_live):
    assert goes_live(*made(live)) is is_live


def test_what_is_sent_stays_where_it_is(made, client):
    job, batch = made(Live(only=True))
    submit(batch, client)
    assert not goes_live(job, batch)
    job, live = made(Live(only=True))
    answer_live(live, client)
    assert goes_live(dataclasses.replace(job, live=None), live)


def test_over_the_live_budget_a_shard_goes_into_a_batch(made):
    # At most 300 completion tokens, at a price of 1 each.
    assert goes_live(*made(Live(under=4), budget=Budget(max_live_cost=400)))
    assert not goes_live(*made(Live(under=4), budget=Budget(max_live_cost=299)))
    with pytest.raises(BudgetError, match="max_live_cost"):
        goes_live(*made(Live(only=True), budget=Budget(max_live_cost=299)))


def test_what_was_paid_live_counts_in_later_attempts(made, client):
    job, shard = made(Live(under=4), budget=Budget(max_live_cost=400))
    answer_live(shard, client)
    assert goes_live(job, shard)


def test_the_live_part_has_the_time_that_it_takes(made):
    _, shard = made(Live(finish_by=HOURS_6))
    plan = read_plan(shard.run)
    assert live_seconds(shard.run, plan, LiveLimits()) == pytest.approx(15.0)
    write_canaries(shard.run, [Canary("x", plan.models[0], "succeeded", 1, 1, seconds=2.0)])
    assert live_seconds(shard.run, plan, LiveLimits()) == pytest.approx(3.0)
    assert live_seconds(shard.run, plan, LiveLimits(max_concurrency=1)) == pytest.approx(9.0)
    assert live_seconds(shard.run, plan, LiveLimits(max_requests_per_minute=1)) == pytest.approx(270.0)


def test_batches_are_cancelled_early_enough_for_the_rest(made):
    _, shard = made()
    plan = read_plan(shard.run)
    times = schedule_of(Live(finish_by=HOURS_6), shard.run)
    assert plan.created_at < times.cancel_at < times.give_up_at < times.finish_by
    assert times.finish_by == plan.created_at + HOURS_6.total_seconds()
    assert times.give_up_at - times.cancel_at == pytest.approx(1800)


def test_the_starts_of_tasks_have_time_but_not_most_of_a_short_one(made):
    _, shard = made()

    def earlier(finish_by):
        live = Live(finish_by=finish_by)
        return schedule_of(live, shard.run).cancel_at - schedule_of(live, shard.run, starts_seconds=120).cancel_at

    assert earlier(HOURS_6) == pytest.approx(120)
    assert earlier(timedelta(minutes=4)) == pytest.approx(80)


def test_a_declaration_that_cannot_work_is_refused(make_job):
    with pytest.raises(ConfigError, match="finish_by"):
        Live(finish_by=timedelta(0))
    with pytest.raises(ConfigError, match="pay_twice"):
        Live(pay_twice=True)
    with pytest.raises(ConfigError, match="second attempt"):
        make_job(live=Live(finish_by=HOURS_6), attempts=1)
    with pytest.raises(ConfigError, match="live: under is 'many'; it is a count"):
        Live(under="many")
