"""Retry budget: whether another attempt would exceed what the run may cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from greennode_batch.cost.actual import COST_COLUMNS, cost_of, counted_in, live_cost
from greennode_batch.errors import BudgetError
from greennode_batch.job.prices import Prices
from greennode_batch.staging.folders import RunFolder
from greennode_batch.staging.parquet import read_staged
from greennode_batch.state.attempts import OverBudget, SentShard
from greennode_batch.state.canaries import read_canaries
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import is_sent
from greennode_batch.wording import given_by


def over_budget(
    max_cost: float,
    run: RunFolder,
    plan: Plan,
    requested: Iterable[SentShard],
    again: Mapping[str, int],
    *,
    prices: Prices,
) -> OverBudget | None:
    """Why no requests may be sent again; None if they may.

    requested: the shards of all attempts so far. again: how many requests would be sent again, by model. The cost of a
    batch without results is estimated. Raises BudgetError if a price is unknown.
    """
    counted: Counter[str] = Counter()  # requests whose token use is known
    costs: dict[str, float] = dict.fromkeys(plan.models, 0.0)
    waiting: Counter[str] = Counter()
    for one in requested:
        shard = one.folder(run)
        if shard.results.exists():
            results = read_staged(shard.results, COST_COLUMNS)
            cost = cost_of(results, one.model, prices).cost
            if cost is None:
                raise _unpriced(one.model)
            costs[one.model] += cost
            counted[one.model] += counted_in(results)
        elif is_sent(shard):
            waiting[one.model] += one.requests
    each = {
        model: costs[model] / counted[model] if counted[model] else _estimated(plan, model)
        for model in waiting + Counter(again)
    }
    canaries = live_cost(read_canaries(run), prices).cost or 0.0
    actual_cost = sum(costs.values()) + sum(count * each[model] for model, count in waiting.items()) + canaries
    expected = sum(count * each[model] for model, count in again.items() if count)
    if actual_cost + expected <= max_cost:
        return None
    return OverBudget(max_cost, actual_cost, expected, sum(again.values()), prices.currency)


def _estimated(plan: Plan, model: str) -> float:
    """What one request costs by the plan's estimate."""
    expected = plan.estimate.by_model.get(model) if plan.estimate else None
    if expected is None or expected.cost is None:
        raise _unpriced(model)
    return expected.cost / plan.requests_by_model[model]


def _unpriced(model: str) -> BudgetError:
    return BudgetError(
        f"the job has a budget, but model {model} has no price, so what it has cost so far is unknown. "
        "Nothing is sent again; all answers are kept. Set its price again "
        f"({given_by('prices')}) and run this step again"
    )
