"""Budget: what a run may cost at most, and from where on a person is asked first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from greennode_batch.errors import BudgetError, ConfigError
from greennode_batch.job.prices import amount, read_prices

if TYPE_CHECKING:
    from greennode_batch.plan.build import Plan
    from greennode_batch.source.sql import RowBatch, Rows

_NOTHING = "No batch was created"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of one run of a job; None is no limit. Costs are in the currency of the price table.

    max_cost: a run whose estimate is higher is not sent; requests are not asked again where that would go over it. It
    is held against an estimate, so that what is paid in the end may be more. approve_over: a run whose estimate is
    higher waits for a person's yes in Airflow's UI. max_rows: a source that has more is an error. Raises ConfigError
    for limits that cannot be.
    """

    max_cost: float | None = None
    approve_over: float | None = None
    max_rows: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        for name, kinds, words in (
            ("max_cost", (int, float), "a sum of money"),
            ("approve_over", (int, float), "a sum of money"),
            ("max_rows", (int,), "a count of rows"),
        ):
            limit = getattr(self, name)
            if limit is None:
                continue
            if not isinstance(limit, kinds) or isinstance(limit, bool) or not 0 <= limit < math.inf:
                raise ConfigError(f"budget: {name} is {limit!r}; it is {words}, 0 or more, or left out")
        if self.max_cost is not None and self.approve_over is not None and self.approve_over > self.max_cost:
            raise ConfigError(
                f"budget: approve_over ({self.approve_over:,}) is more than max_cost ({self.max_cost:,}), and what is "
                "over max_cost nobody can approve; lower the one or raise the other"
            )

    @property
    def is_of_money(self) -> bool:
        """Whether what a run costs must be known before it is sent."""
        return self.max_cost is not None or self.approve_over is not None


def check_spending(job: str, budget: object, prices: object) -> None:
    """Raise ConfigError for what is no budget or no price table. job: its name."""
    if not isinstance(budget, Budget | None):
        raise ConfigError(f"job {job}: budget is {budget!r}; it is Budget(max_cost=…), or left out")
    if not isinstance(prices, Mapping | None):
        raise ConfigError(f'job {job}: prices is {prices!r}; it is {{"MODEL": [prompt, completion]}}, or left out')
    try:
        read_prices(prices or {})
    except ConfigError as error:
        raise ConfigError(f"job {job}: {error}") from None


def check_budget(plan: Plan, budget: Budget | None) -> None:
    """Raise BudgetError for a plan whose likely cost is over the budget, or cannot be told though there is one."""
    if budget is None or not budget.is_of_money:
        return
    cost = _likely_cost(plan, budget)
    if budget.max_cost is not None and cost > budget.max_cost:
        assert plan.estimate is not None
        raise BudgetError(
            f"{plan.estimate}: that is over the job's budget of {amount(budget.max_cost, plan.estimate.currency)} "
            f"(max_cost). {_NOTHING}. Raise max_cost, or ask less: fewer rows, a shorter prompt, a lower max_tokens"
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
            f'prices={{"{unpriced[0]}": [prompt, completion]}} per million tokens to the job, or the extra field '
            "prices to the connection (--prices on the command line)"
        )


def outlook(plan: Plan, budget: Budget | None, *, canary: int) -> str:
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
            "params, or let a first request be tried (canary=1, where the server can be asked in real time)"
        )
    return plan.estimate.cost


def within_max_rows(rows: Rows, budget: Budget | None) -> Rows:
    """The same rows, up to the budget's max_rows: one more is a BudgetError while they are read."""
    most = budget.max_rows if budget else None
    if most is None:
        return rows

    def counted() -> Iterator[RowBatch]:
        count = 0
        for batch in rows.batches:
            count += len(batch)
            if count > most:
                raise BudgetError(
                    f"The source has more than {most:,} rows, which is the job's budget (max_rows). It was not read "
                    "any further, and nothing was sent. Raise max_rows, or choose fewer rows"
                )
            yield batch

    return replace(rows, batches=counted())
