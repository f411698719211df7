"""Withdrawn: whether a shard is not to be sent any more, for its run was built again without it."""

from __future__ import annotations

from greennode_batch.staging.folders import ShardFolder, fresh_names, numbered
from greennode_batch.state.attempts import FIRST_ATTEMPT, read_retry
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Claim


def is_withdrawn(shard: ShardFolder, claim: Claim) -> bool:
    """Whether the claim, the shard's last, says so, and no build has planned the shard after all since.

    A build that was given up and wakes late may still withdraw what a later one has planned: that changes nothing.
    """
    if not claim.withdrawn:
        return False
    run, attempt = shard.run, shard.attempt
    folder, stem = (run.path, "plan") if attempt == FIRST_ATTEMPT else (run.attempt(attempt), "retry")
    finished = max(numbered(fresh_names(folder), stem), default=0)
    if finished < claim.turn:
        return True
    # A build may have taken back at first what it has planned in the end.
    plan = read_plan(run) if attempt == FIRST_ATTEMPT else read_retry(run, attempt)
    return plan is None or all(planned.shard_id != shard.shard_id for planned in plan.shards)
