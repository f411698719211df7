"""Withdrawn: whether a shard must not be sent any more, because a later build of its run left it out."""

from __future__ import annotations

from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names, numbered
from greennode_batch.state.attempts import FIRST_ATTEMPT, read_retry
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Claim, latest_claim
from greennode_batch.state.split import wholes_of


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
    return not _is_of(shard, _planned(run, attempt))


def is_void(shard: ShardFolder) -> bool:
    """Whether a half must not be sent any more, because every shard that it is a half of was withdrawn.

    A half that a later build has planned as a shard is one.
    """
    wholes = wholes_of(shard)
    return (
        bool(wholes)
        and shard.shard_id not in _planned(shard.run, shard.attempt)
        and all(_is_withdrawn(whole) or is_void(whole) for whole in wholes)
    )


def _is_withdrawn(shard: ShardFolder) -> bool:
    last = latest_claim(shard)
    return last is not None and is_withdrawn(shard, last.claim)


def _planned(run: RunFolder, attempt: int) -> set[str]:
    """The ids of the shards that the latest build of an attempt has planned."""
    plan = read_plan(run) if attempt == FIRST_ATTEMPT else read_retry(run, attempt)
    return {one.shard_id for one in plan.shards} if plan is not None else set()


def _is_of(shard: ShardFolder, planned: set[str]) -> bool:
    """Whether a shard is planned, or a half of one that is."""
    return shard.shard_id in planned or any(_is_of(whole, planned) for whole in wholes_of(shard))
