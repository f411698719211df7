"""ActualCost: the tokens that results report and what they cost, for a shard, an attempt, a model or a run.

A request that is sent in two attempts uses tokens in both.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.job.prices import Prices
from greennode_batch.state.actual_cost import TOKEN_COLUMNS, ActualCost, CanaryCost
from greennode_batch.state.canaries import Canary
from greennode_batch.state.cost_estimate import total as total_of
from greennode_batch.state.live_answers import LIVE_BATCH_ID


def tokens_in(results: pa.Table, names: Iterable[str] = TOKEN_COLUMNS) -> dict[str, int]:
    """Sum the tokens that a table of results reports."""
    return {name: pc.sum(results[name]).as_py() or 0 for name in names}


def counted_in(results: pa.Table) -> int:
    """Count the requests for which the server reported tokens."""
    return pc.sum(pc.greater(results["prompt_tokens"], 0)).as_py() or 0


COST_COLUMNS = (*TOKEN_COLUMNS, "batch_id")
"""The columns of results that `cost_of` needs."""


def cost_of(results: pa.Table, model: str, prices: Prices) -> ActualCost:
    """Sum the tokens of a shard's results and what they cost, in a batch or live."""
    tokens = tokens_in(results)
    price = prices.by_model.get(model)
    if price is None:
        nothing = not any(tokens.values())
        return ActualCost(**tokens, cost=0.0 if nothing else None, saving=0.0 if nothing else None)
    live_price = price.of(tokens["prompt_tokens"], tokens["completion_tokens"], tokens["cached_tokens"])
    is_live = results.num_rows > 0 and results["batch_id"][0].as_py() == LIVE_BATCH_ID
    cost = live_price if is_live else prices.in_batch(live_price)
    return ActualCost(**tokens, cost=cost, saving=live_price - cost)


def live_cost(canaries: Iterable[Canary], prices: Prices) -> CanaryCost:
    """Sum the tokens and the live price of a run's canary requests."""
    requested = [one for one in canaries if one.prompt_tokens or one.completion_tokens]
    costs = [
        price.of(one.prompt_tokens, one.completion_tokens, one.cached_tokens)
        if (price := prices.by_model.get(one.model))
        else None
        for one in requested
    ]
    return CanaryCost(
        **{name: sum(getattr(one, name) for one in requested) for name in TOKEN_COLUMNS},
        cost=total_of(costs),
        requests=len(requested),
    )


def total(parts: Iterable[ActualCost]) -> ActualCost:
    """Add up several costs. The total is unknown if one of them is."""
    parts = list(parts)
    return ActualCost(
        **{name: sum(getattr(part, name) for part in parts) for name in TOKEN_COLUMNS},
        cost=total_of(part.cost for part in parts),
        saving=total_of(part.saving for part in parts),
    )
