"""Budget check: whether a plan is within its job's budget."""

from __future__ import annotations

from greennode_batch.errors import BudgetError
from greennode_batch.job.budget import Budget
from greennode_batch.job.live_mode import Live
from greennode_batch.job.prices import amount
from greennode_batch.state.plan import Plan
from greennode_batch.wording import given_by

_NOTHING = "No batch was created"


def check_budget(plan: Plan, budget: Budget | None, *, live: Live | None = None) -> None:
    """Raise BudgetError if the job has a budget and the plan's likely cost exceeds it or is unknown.

    live: the job's; a plan whose requests are all answered live is checked at the live price.
    """
    if budget is None or not budget.is_of_money:
        return
    cost = _likely_cost(plan, budget, live)
    if budget.max_cost is not None and cost > budget.max_cost:
        assert plan.estimate is not None
        raise BudgetError(
            f"{plan.estimate}: this is over the job's budget of {amount(budget.max_cost, plan.estimate.currency)} "
            f"({given_by('max_cost')}). {_NOTHING}. Raise the budget, or send less: fewer rows, a shorter prompt, a "
            "lower max_tokens"
        )


def needs_approval(plan: Plan, budget: Budget | None, *, live: Live | None = None) -> bool:
    """Whether a person must approve the plan before it is sent. Raises BudgetError if its cost is unknown."""
    limit = budget.approve_over if budget is not None else None
    return budget is not None and limit is not None and _likely_cost(plan, budget, live) > limit


def refuse_unpriced(plan: Plan, budget: Budget | None) -> None:
    """Raise BudgetError if the budget limits the cost and a model of the plan has no price."""
    if budget is not None and budget.is_of_money and plan.estimate is not None and plan.estimate.unpriced:
        unpriced = plan.estimate.unpriced
        raise BudgetError(
            f"the job has a budget, but there is no price for {', '.join(unpriced)}. {_NOTHING}. Set "
            f'{{"{unpriced[0]}": [prompt, completion]}}, per million tokens, by '
            f"{given_by('prices', 'prices= of the job, or the extra field prices of the connection')}"
        )


def budget_forecast(plan: Plan, budget: Budget | None, *, canary: int, live: Live | None = None) -> str:
    """Describe what the job's budget would do with a plan that is only shown. Empty if no budget limits the cost.

    canary: how many requests of each model the run would try first.
    """
    if budget is None or not budget.is_of_money:
        return ""
    expected = plan.estimate
    if canary and expected is not None and expected.cost is None and not expected.unpriced:
        return "The first requests of the run will show whether it is within the job's budget"
    try:
        check_budget(plan, budget, live=live)
        if needs_approval(plan, budget, live=live):
            assert expected is not None
            limit = amount(budget.approve_over or 0, expected.currency)
            return f"This run would wait for approval: the estimate is over {limit} (approve_over)"
    except BudgetError as error:
        return f"This run would be refused: {error}"
    return "The estimate is within the job's budget"


def _likely_cost(plan: Plan, budget: Budget, live: Live | None) -> float:
    if plan.estimate is None:
        raise BudgetError(f"the job has a budget, but its plan has no estimate. {_NOTHING}. Build the run again")
    refuse_unpriced(plan, budget)
    if plan.estimate.cost is None:
        raise BudgetError(
            f"the job has a budget, but nothing limits the length of its answers. {_NOTHING}. Set max_tokens in "
            f"{given_by('params')}, or let a first request be tried ({given_by('canary', value='1')}), if the server "
            "answers live requests"
        )
    is_live = live is not None and live.answers_at_once(plan.requests)
    return (plan.estimate.live_cost if is_live else None) or plan.estimate.cost
