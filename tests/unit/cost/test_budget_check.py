from __future__ import annotations

import pytest

from greennode_batch.api.profile import ApiProfile
from greennode_batch.cost.budget_check import budget_forecast, check_budget, needs_approval
from greennode_batch.errors import BudgetError, ConfigError
from greennode_batch.job.budget import Budget
from greennode_batch.plan.build import build
from greennode_batch.plan.partition_files import write_part
from greennode_batch.source.partition import WHOLE
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder

MODEL = "google/gemma-4-31b-it"
# The texts have 101 tokens by their length, and the answers up to 20: 101 x 10,000 and 20 x 20,000, at half the price.
PRICES = {MODEL: [10_000_000, 20_000_000]}
COST = (101 * 10 + 20 * 20) / 2


@pytest.fixture
def plan(make_run):
    def make(**job):
        settings = {"params": {"max_tokens": 10}, "prices": PRICES} | job
        return make_run(("id", "text"), [(1, "x" * 400), (2, "y" * 4)], **settings)[1]

    return make


def test_a_plan_within_its_budget_passes(plan):
    made = plan()
    check_budget(made, None)
    check_budget(made, Budget(max_rows=1))
    check_budget(made, Budget(max_cost=COST))
    assert not needs_approval(made, Budget(max_cost=COST))


def test_an_estimate_over_the_budget_is_an_error_with_the_numbers(plan):
    words = (
        r"estimate: 101 prompt .* about 705 VND; live about 1,410 VND .* over the job's budget of 704 VND "
        r"\(max_cost\). No batch was created"
    )
    with pytest.raises(BudgetError, match=words):
        check_budget(plan(), Budget(max_cost=COST - 1))


def test_a_person_is_asked_only_over_the_sum_that_the_budget_names(plan):
    made = plan()
    assert needs_approval(made, Budget(approve_over=COST - 1))
    assert not needs_approval(made, Budget(approve_over=COST))
    assert not needs_approval(made, None)


@pytest.mark.parametrize(
    ("job", "budget", "words"),
    [
        ({}, None, ""),
        ({}, Budget(max_rows=10), ""),
        ({}, Budget(max_cost=COST), "The estimate is within the job's budget"),
        ({}, Budget(max_cost=COST - 1), "This run would be refused: estimate: 101 prompt"),
        (
            {},
            Budget(max_cost=COST, approve_over=1),
            "This run would wait for approval: the estimate is over 1 VND",
        ),
        (
            {"prices": None},
            Budget(max_cost=COST),
            "This run would be refused: the job has a budget, but there is no price for",
        ),
        ({"params": {}}, Budget(max_cost=COST), "The first requests of the run will show"),
    ],
)
def test_a_plan_that_is_only_shown_says_what_would_become_of_it(plan, job, budget, words):
    said = budget_forecast(plan(**job), budget, canary=1)
    assert said.startswith(words)
    assert bool(said) == bool(words)


def test_where_no_request_is_tried_first_an_unknown_cost_would_be_refused(plan):
    assert budget_forecast(plan(params={}), Budget(max_cost=1e9), canary=0).startswith("This run would be refused: ")


@pytest.mark.parametrize("budget", [Budget(max_cost=1e9), Budget(approve_over=1e9)])
@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"prices": None}, f"no price for {MODEL}.*prices="),
        ({"params": {}}, "nothing limits the length of its answers.*max_tokens"),
    ],
)
def test_a_budget_that_nothing_can_be_held_against_says_what_is_lacking(plan, budget, job, words):
    with pytest.raises(BudgetError, match=words):
        check_budget(plan(**job), budget)


def test_an_empty_plan_costs_nothing(make_run):
    _, made = make_run(("id", "text"), [])
    check_budget(made, Budget(max_cost=0))
    assert not needs_approval(made, Budget(approve_over=0))


@pytest.mark.parametrize(
    "limits",
    [
        {"max_cost": -1}, {"max_cost": "5"}, {"max_cost": float("nan")}, {"max_rows": 1.5}, {"max_rows": True},
        {"max_rows": -1}, {"approve_over": float("inf")}, {"approve_over": 2, "max_cost": 1},
    ],
)  # fmt: skip
def test_a_limit_that_cannot_be_is_refused(limits):
    with pytest.raises(ConfigError, match=f"budget: {next(iter(limits))}"):
        Budget(**limits)


@pytest.mark.parametrize(("field", "value"), [("budget", 5), ("prices", [1, 2]), ("prices", {MODEL: 5})])
def test_a_job_refuses_what_is_no_budget_or_price_table(make_job, field, value):
    with pytest.raises(ConfigError, match=f"job job: {field}"):
        make_job(**{field: value})


@pytest.fixture
def source():
    """Rows in batches of two, and how many batches were read."""
    read = []

    def batches():
        for start in range(0, 100, 2):
            read.append(start)
            yield [(start, "a"), (start + 1, "b")]

    return (lambda: Rows.from_tuples(("id", "text"), batches())), read


@pytest.mark.parametrize(
    "write",
    [
        lambda job, rows, run: build(job, rows, run, run_id="r", profile=ApiProfile()),
        lambda job, rows, run: write_part(job, rows(), run, WHOLE, profile=ApiProfile()),
    ],
)
def test_a_source_with_more_rows_than_the_budget_is_not_read_to_its_end(write, source, make_job, tmp_path):
    rows, read = source
    run = run_folder(tmp_path, "job", "run")
    with pytest.raises(BudgetError, match=r"more than 5 rows, .*max_rows.*nothing was sent"):
        write(make_job(budget=Budget(max_rows=5)), rows, run)
    assert len(read) == 3
    assert not run.plan.exists()


def test_a_source_with_as_many_rows_as_the_budget_is_read(source, make_job, tmp_path):
    rows, _ = source
    job = make_job(budget=Budget(max_rows=100))
    assert build(job, rows, run_folder(tmp_path, "job", "run"), run_id="r", profile=ApiProfile()).rows == 100
