"""Shard tokens: the estimated prompt tokens of a shard."""

from __future__ import annotations

from greennode_batch.cost.estimate import estimate_tokens
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, read_retry
from greennode_batch.state.plan import read_plan
from greennode_batch.state.split import half_of


def prompt_tokens_of(shard: ShardFolder) -> int:
    """From the plan of its run; for a later attempt, from its bytes and the plan's estimate for its model.

    A half has its share of the shard that was split. A shard of no run is estimated from the size of its file.
    """
    half = half_of(shard)
    if half is not None:
        return half.prompt_tokens
    plan = read_plan(shard.run)
    if plan is None:
        return _of_file(shard)
    if shard.attempt == FIRST_ATTEMPT:
        return next((one.prompt_tokens for one in plan.shards if one.shard_id == shard.shard_id), None) or _of_file(
            shard
        )
    retry = read_retry(shard.run, shard.attempt)
    requested = next((one for one in retry.shards if one.shard_id == shard.shard_id), None) if retry else None
    like = [one for one in plan.shards if requested is not None and one.model == requested.model]
    size = sum(one.bytes for one in like)
    if requested is None or not size:
        return _of_file(shard)
    return round(requested.bytes * sum(one.prompt_tokens for one in like) / size)


def _of_file(shard: ShardFolder) -> int:
    size = shard.requests.stat().st_size
    return estimate_tokens(size, size)
