"""Budget check: whether a plan keeps to its job's budget."""

from __future__ import annotations

from greennode_batch.errors import BudgetError
from greennode_batch.job.budget import Budget
from greennode_batch.job.prices import amount
from greennode_batch.state.plan import Plan
from greennode_batch.wording import given_by

_NOTHING = "No batch was created"


def check_budget(plan: Plan, budget: Budget | None) -> None:
    """Raise BudgetError for a plan whose likely cost is over the budget, or cannot be told though there is one."""
    if budget is None or not budget.is_of_money:
        return
    cost = _likely_cost(plan, budget)
    if budget.max_cost is not None and cost > budget.max_cost:
        assert plan.estimate is not None
        raise BudgetError(
            f"{plan.estimate}: that is over the job's budget of {amount(budget.max_cost, plan.estimate.currency)} "
            f"({given_by('max_cost')}). {_NOTHING}. Raise the budget, or ask less: fewer rows, a shorter prompt, a "
            "lower max_tokens"
        )


def needs_approval(plan: Plan, budget: Budget | None) -> bool:
    """Whether a person is to say yes before the plan is sent. Raises BudgetError where its cost cannot be told."""
    return budget is not None and budget.approve_over is not None and _likely_cost(plan, budget) > budget.approve_over


def refuse_unpriced(plan: Plan, budget: Budget | None) -> None:
    """Raise BudgetError for a budget of money where a model has no price."""
    if budget is not None and budget.is_of_money and plan.estimate is not None and plan.estimate.unpriced:
        unpriced = plan.estimate.unpriced
        raise BudgetError(
            f"the job has a budget, and no price is known of {', '.join(unpriced)}. {_NOTHING}. Give "
            f'{{"{unpriced[0]}": [prompt, completion]}} per million tokens by '
            f"{given_by('prices', 'prices= of the job, or the extra field prices of the connection')}"
        )


def budget_forecast(plan: Plan, budget: Budget | None, *, canary: int) -> str:
    """What would become of a plan that is shown and not sent, by the job's budget; empty if that limits no cost.

    canary: how many requests of each model would be tried first.
    """
    if budget is None or not budget.is_of_money:
        return ""
    expected = plan.estimate
    if canary and expected is not None and expected.cost is None and not expected.unpriced:
        return "Whether this run is within the job's budget is told once the first requests are tried"
    try:
        check_budget(plan, budget)
        if needs_approval(plan, budget):
            assert expected is not None
            limit = amount(budget.approve_over or 0, expected.currency)
            return f"This run would wait for a person's yes: the estimate is over {limit} (approve_over)"
    except BudgetError as error:
        return f"This run would be refused: {error}"
    return "By this estimate the run is within the job's budget"


def _likely_cost(plan: Plan, budget: Budget) -> float:
    if plan.estimate is None:
        raise BudgetError(f"the job has a budget, and its plan no estimate. {_NOTHING}. Build the run again")
    refuse_unpriced(plan, budget)
    if plan.estimate.cost is None:
        raise BudgetError(
            f"the job has a budget, and nothing tells how long its answers may be. {_NOTHING}. Set max_tokens in "
            f"{given_by('params')}, or let a first request be tried ({given_by('canary', value='1')}, where the server "
            "can be asked live)"
        )
    return plan.estimate.cost
