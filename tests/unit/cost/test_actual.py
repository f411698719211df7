"""What a run costs, from its estimate to its report, against what the emulator has billed."""

from __future__ import annotations

import logging

import pyarrow.parquet as pq
import pytest

from greennode_batch.cost.usage_history import usage_path
from greennode_batch.errors import BudgetError
from greennode_batch.job.budget import Budget
from greennode_batch.reconcile.report import report
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.run import run_to_file
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import read_json, run_folder
from greennode_batch.state.actual_cost import CostByShard
from greennode_batch.state.plan import read_plan

MODEL = "google/gemma-4-31b-it"
OTHER = "zai/glm-5.2"
PRICES = {MODEL: [10_000_000, 20_000_000], OTHER: [1_000_000, 3_000_000]}
TEXTS = [f"What is {n} times {n}?" for n in range(20)]


@pytest.fixture
def folder(tmp_path):
    return lambda name="run": run_folder(tmp_path / "staging", "job", name)


@pytest.fixture
def start(make_job, client, tmp_path, clock, folder):
    """Starts a run of a job to a file, or goes on with it."""

    def run(name="run", *, texts=TEXTS, limits=None, sleep=lambda _: None, **job):
        settings = {"max_failed_ratio": 1.0, "canary": 0, "prices": PRICES, "params": {"max_tokens": 100}} | job
        return run_to_file(
            make_job(**settings),
            lambda: Rows.from_tuples(
                ("id", "text", "limit"), iter([[(number, text, limits) for number, text in enumerate(texts)]])
            ),
            client,
            folder(name),
            tmp_path / f"{name}.parquet",
            run_id=name,
            clock=clock,
            sleep=sleep,
        )

    return run


def test_a_report_has_the_tokens_that_were_billed_and_what_they_cost(start, emulator, folder):
    made = start(max_shard_requests=8)
    ledger = emulator.ledger()
    assert (made.prompt_tokens, made.completion_tokens) == (ledger["prompt_tokens"], ledger["completion_tokens"])
    live_price = ledger["prompt_tokens"] * 10 + ledger["completion_tokens"] * 20
    assert (made.cost, made.saving, made.currency) == (live_price / 2, live_price / 2, "VND")
    actual_cost = read_json(folder().costs, CostByShard).shards
    assert [one.requests for one in actual_cost] == [8, 8, 4]
    assert sum(one.cost for one in actual_cost) == pytest.approx(made.cost)
    assert {one.batch_id for one in actual_cost} == {batch["id"] for batch in ledger["batches"]}
    assert f"Cost: {live_price / 2:,.0f} VND, {live_price / 2:,.0f} VND less than live" in str(made)
    assert f"Estimated before the run: {made.estimate}".replace("estimate: ", "") in str(made)


def test_each_model_has_its_own_rows_tokens_and_cost(start, emulator):
    made = start(model=(MODEL, OTHER), texts=[*TEXTS, ""])
    assert [one.model for one in made.models] == [MODEL, OTHER]
    assert [one.statuses for one in made.models] == [{"succeeded": 20, "unsent": 1}] * 2
    for one in made.models:
        prompt, completion = PRICES[one.model]
        assert one.cost == pytest.approx((one.prompt_tokens * prompt + one.completion_tokens * completion) / 2e6)
    assert sum(one.cost for one in made.models) == pytest.approx(made.cost)
    assert sum(one.prompt_tokens for one in made.models) == emulator.ledger()["prompt_tokens"]


def test_a_model_without_a_price_makes_the_cost_of_the_run_unknown_and_not_that_of_others(start):
    made = start(model=(MODEL, OTHER), prices={MODEL: PRICES[MODEL]})
    assert (made.cost, made.saving) == (None, None)
    assert [one.cost is None for one in made.models] == [False, True]
    assert "Cost: no price known" in str(made)


def test_what_is_asked_in_two_attempts_is_counted_in_both(start, clock, emulator):
    # Answers that match no schema are billed, and asked again.
    emulator.faults([{"kind": "empty_answer", "rate": 0.5}])
    made = start(sleep=clock.sleep)
    ledger = emulator.ledger()
    assert len(made.attempts) == 2
    assert made.prompt_tokens == ledger["prompt_tokens"]
    assert made.prompt_tokens == sum(attempt.prompt_tokens for attempt in made.attempts)
    assert sum(attempt.cost for attempt in made.attempts) == pytest.approx(made.cost)


def test_first_requests_are_counted_apart_at_the_full_price(start, emulator):
    made = start(canary=2)
    requested = made.canaries
    assert (requested.requests, emulator.ledger()["chat_requests_billed"]) == (2, 2)
    assert requested.cost == pytest.approx(requested.prompt_tokens * 10 + requested.completion_tokens * 20)
    assert made.estimate.basis == "by the first 2 requests"
    assert "In addition, 2 requests were tried live: " in str(made)


def error(made):
    return abs(made.estimate.cost - made.cost)


def test_the_second_run_is_estimated_by_what_the_first_one_used(start):
    first = start("first")
    second = start("second", texts=[f"{text} And why?" for text in TEXTS])
    third = start("third", texts=TEXTS[:7])
    assert [one.estimate.basis for one in (first, second, third)] == [
        "by the length of the texts", "by 1 earlier run", "by 2 earlier runs",
    ]  # fmt: skip
    assert error(second) < error(first) / 3
    assert abs(second.estimate.prompt_tokens - second.prompt_tokens) < abs(
        first.estimate.prompt_tokens - first.prompt_tokens
    )
    assert first.estimate.cost == first.estimate.max_cost
    assert second.estimate.max_cost > second.estimate.cost


def test_a_report_that_is_made_again_counts_no_run_twice(start, folder):
    start()
    noted = usage_path(folder()).read_bytes()
    report(folder())
    assert usage_path(folder()).read_bytes() == noted


def test_a_note_that_cannot_be_read_costs_the_better_estimate_only(start, folder, caplog):
    start("first")
    usage_path(folder()).write_text("{")
    with caplog.at_level(logging.WARNING):
        assert start("second").estimate.basis == "by the length of the texts"
    assert "estimates do not use what earlier runs used" in caplog.text
    assert start("third").estimate.basis == "by 1 earlier run"


def test_over_the_budget_nothing_is_sent_and_a_larger_one_goes_on(start, emulator, folder):
    with pytest.raises(BudgetError, match="over the job's budget of 5 VND"):
        start(budget=Budget(max_cost=5), canary=0)
    assert (emulator.ledger()["batches_created"], emulator.ledger()["files_uploaded"]) == (0, 0)
    assert read_plan(folder()).estimate.cost > 5
    assert start(budget=Budget(max_cost=1e9)).succeeded == 20


def test_where_earlier_runs_tell_the_cost_not_even_a_first_request_is_paid_over_the_budget(start, emulator):
    start("first")
    with pytest.raises(BudgetError, match="by 1 earlier run"):
        start("second", texts=[*TEXTS, "one more"], budget=Budget(max_cost=5), canary=1)
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_the_first_request_tells_what_max_tokens_leaves_open(start):
    made = start(canary=1, params={}, budget=Budget(max_cost=1e9))
    assert (made.estimate.basis, made.estimate.max_cost) == ("by the first request", None)
    assert made.estimate.cost > 0


def test_a_budget_is_held_against_the_limits_that_rows_have_of_their_own(start, emulator):
    with pytest.raises(BudgetError, match="up to 2,000 completion tokens"):
        start(row_params={"max_tokens": "limit"}, params={"max_tokens": 1}, limits=100, budget=Budget(max_cost=1_000))
    assert emulator.ledger()["files_uploaded"] == 0


def test_a_price_that_comes_later_is_that_of_the_estimate_as_well(start, folder):
    with pytest.raises(BudgetError, match=f"no price for {MODEL}"):
        start(prices={}, budget=Budget(max_cost=1e9))
    start(budget=Budget(max_cost=1e9))
    assert read_plan(folder()).estimate.cost > 0


# Prompts have more tokens than their texts, for a chat frames them: a run costs more than a first estimate says.
PROMPTS = {MODEL: [10_000_000, 0]}


@pytest.mark.parametrize("max_shard_requests", [None, 7])
def test_a_run_that_would_go_over_its_budget_asks_nothing_again_until_that_is_raised(
    start, emulator, tmp_path, folder, max_shard_requests
):
    with pytest.raises(BudgetError):
        start(budget=Budget(max_cost=0), prices=PROMPTS, max_shard_requests=max_shard_requests)
    budget = Budget(max_cost=read_plan(folder()).estimate.cost)
    emulator.faults([{"kind": "expired", "fraction": 0.7}])
    made = start(budget=budget, prices=PROMPTS, max_shard_requests=max_shard_requests)

    assert emulator.ledger()["batches_created"] == made.shards
    (first,) = made.attempts
    expired = first.statuses["expired"]
    assert made.statuses == {"succeeded": 20 - expired, "unsent": expired}
    assert expired > 1
    (stopped,) = made.over_budget
    assert stopped in str(made)
    assert f"VND are spent, and sending {expired} requests again would cost about" in stopped
    errors = [row["error"] for row in pq.read_table(tmp_path / "run.parquet").to_pylist() if row["status"] == "unsent"]
    assert len(errors) == expired
    words = f"over budget (max_cost {budget.max_cost:,.0f} VND); attempt 1: expired: "
    assert all(error.startswith(words) for error in errors)

    again = start(budget=Budget(max_cost=1e9), prices=PROMPTS, max_shard_requests=max_shard_requests)
    assert (again.statuses, again.over_budget) == ({"succeeded": 20}, ())
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_within_its_budget_a_run_asks_again(start, emulator):
    emulator.faults([{"kind": "expired", "fraction": 0.7}])
    made = start(budget=Budget(max_cost=1e9))
    assert (made.statuses, len(made.attempts)) == ({"succeeded": 20}, 2)


def test_a_retry_whose_price_is_gone_is_an_error_that_loses_nothing(start, emulator, client, folder, make_job):
    emulator.faults([{"kind": "expired", "fraction": 0.7}])
    start(attempts=1)
    job = make_job(budget=Budget(max_cost=1e9))
    with pytest.raises(BudgetError, match=f"model {MODEL} has no price"):
        build_retry(job, folder(), read_plan(folder()), attempt=2, profile=client.profile)
    assert start(budget=Budget(max_cost=1e9)).succeeded == 20
