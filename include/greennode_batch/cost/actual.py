"""Spent: the tokens that results say were used, and what they cost: of a shard, an attempt, a model or a run.

A request that is asked in two attempts has used tokens in both.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.job.prices import Prices
from greennode_batch.state.canaries import Canary
from greennode_batch.state.spent import TOKEN_COLUMNS, CanariesSpent, Spent


def in_batch(results: pa.Table, model: str, prices: Prices) -> Spent:
    """What the requests of a file of results have used."""
    tokens = {name: pc.sum(results[name]).as_py() or 0 for name in TOKEN_COLUMNS}
    price = prices.by_model.get(model)
    if price is None:
        nothing = not any(tokens.values())
        return Spent(**tokens, cost=0.0 if nothing else None, saving=0.0 if nothing else None)
    real_time = price.of(tokens["prompt_tokens"], tokens["completion_tokens"], tokens["cached_tokens"])
    cost = prices.in_batch(real_time)
    return Spent(**tokens, cost=cost, saving=real_time - cost)


def in_real_time(canaries: Iterable[Canary], prices: Prices) -> CanariesSpent:
    """What the first requests have used."""
    asked = [one for one in canaries if one.prompt_tokens or one.completion_tokens]
    costs = [
        price.of(one.prompt_tokens, one.completion_tokens, one.cached_tokens)
        if (price := prices.by_model.get(one.model))
        else None
        for one in asked
    ]
    return CanariesSpent(
        **{name: sum(getattr(one, name) for one in asked) for name in TOKEN_COLUMNS},
        cost=_sum(costs),
        requests=len(asked),
    )


def total(parts: Iterable[Spent]) -> Spent:
    """What all of them have used. The cost is not known where that of one is not."""
    parts = list(parts)
    return Spent(
        **{name: sum(getattr(part, name) for part in parts) for name in TOKEN_COLUMNS},
        cost=_sum(part.cost for part in parts),
        saving=_sum(part.saving for part in parts),
    )


def _sum(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if None in known else sum(filter(None, known), 0.0)
