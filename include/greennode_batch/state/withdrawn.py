"""Withdrawn: whether a shard must not be sent any more, because a later build of its run left it out."""

from __future__ import annotations

from greennode_batch.staging.folders import ShardFolder, fresh_names, numbered
from greennode_batch.state.attempts import FIRST_ATTEMPT, read_retry
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Claim


def is_withdrawn(shard: ShardFolder, claim: Claim) -> bool:
    """Whether the shard's last claim withdraws it and no later build has planned the shard.

    A superseded build that wakes late may still withdraw a shard that a later build has planned. That has no effect.
    """
    if not claim.withdrawn:
        return False
    run, attempt = shard.run, shard.attempt
    folder, stem = (run.path, "plan") if attempt == FIRST_ATTEMPT else (run.attempt(attempt), "retry")
    finished = max(numbered(fresh_names(folder), stem), default=0)
    if finished < claim.turn:
        return True
    # A build may withdraw a shard first and plan it in the end.
    plan = read_plan(run) if attempt == FIRST_ATTEMPT else read_retry(run, attempt)
    return plan is None or all(planned.shard_id != shard.shard_id for planned in plan.shards)
