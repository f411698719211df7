"""Rebuild: builds a run again while tasks of the earlier build may still be working on it.

An exclusive claim makes sure that a shard is either sent or withdrawn, so that every shard that is paid for is in a
plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names
from greennode_batch.state.attempts import FIRST_ATTEMPT
from greennode_batch.state.receipts import is_sent, withdraw
from greennode_batch.state.split import splits_of


def shards_of(run: RunFolder) -> dict[str, ShardFolder]:
    """Every shard that the first attempt of the run ever began, by id. A shard that was split stands for its halves."""
    halves = {half.shard_id for split in splits_of(run, FIRST_ATTEMPT).values() for half in split.halves}
    shards = {name: run.shard(name) for name in sorted(fresh_names(run.shards))}
    # A half has no rows, unless a later build has planned it as a shard by itself.
    return {name: shard for name, shard in shards.items() if name not in halves or shard.source.exists()}


def sent_of(shards: Mapping[str, ShardFolder]) -> set[str]:
    """The ids of the shards that were sent, and must stay."""
    return {shard_id for shard_id, shard in shards.items() if is_sent(shard)}


def withdraw_others(
    run: RunFolder,
    *,
    turn: int,
    planned: Collection[str],
    submitted: Collection[str],
    before: Mapping[str, ShardFolder],
    clock: Callable[[], float],
) -> set[str]:
    """Withdraw every shard that is no longer planned, and return the ids of those that were sent meanwhile.

    A shard that was sent must stay. The files of withdrawn shards stay as well, because a later build may plan them
    again.

    before: the shards that existed when the build began. No task can know of a planned shard that is not among them.
    """
    others = {name: shard for name, shard in shards_of(run).items() if name not in planned}
    late = sent_of({name: shard for name, shard in before.items() if name in planned and name not in submitted})
    # If the run must be built again anyway, nothing is withdrawn, because that build may plan it.
    return late or {name for name, shard in others.items() if not withdraw(shard, now=clock(), turn=turn)}
