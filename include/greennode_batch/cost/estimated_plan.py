"""Estimated plan: a plan with the tokens and cost that its shards and the job's earlier requests suggest."""

from __future__ import annotations

import msgspec

from greennode_batch.cost.estimate import estimate
from greennode_batch.cost.usage_history import seen_usage
from greennode_batch.job.prices import Prices
from greennode_batch.staging.folders import RunFolder, read_json, write_json
from greennode_batch.state.plan import Plan


def estimated(plan: Plan, run: RunFolder, prices: Prices) -> Plan:
    """Return the plan with a current estimate and the prices that it uses."""
    seen = seen_usage(run, plan.models, run_id=plan.run_id, prompt_hash=plan.prompt_hash, is_counted=plan.is_counted)
    expected = estimate(
        plan.prompt_tokens, plan.requests_by_model, plan.max_completion_tokens, prices, seen, is_counted=plan.is_counted
    )
    of_models = {model: price for model, price in prices.by_model.items() if model in plan.models}
    return msgspec.structs.replace(plan, estimate=expected, prices=msgspec.structs.replace(prices, by_model=of_models))


def estimate_again(plan: Plan, run: RunFolder, prices: Prices) -> Plan:
    """Do the same, and update plan.json if it still holds this plan."""
    better = estimated(plan, run, prices)
    path = run.plan
    if better != plan and read_json(path, type(plan)) == plan:
        write_json(path, better)
    return better
