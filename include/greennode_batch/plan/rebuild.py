"""Rebuild: a run that is built again, while tasks of the earlier build may still be at work on it.

A shard is either sent or withdrawn, by an exclusive claim, so none is paid that no plan lists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names
from greennode_batch.state.receipts import is_sent, withdraw


def shards_of(run: RunFolder) -> dict[str, ShardFolder]:
    """Every shard of the run's first attempt that was ever begun, by id."""
    return {name: run.shard(name) for name in sorted(fresh_names(run.shards))}


def sent_of(shards: Mapping[str, ShardFolder]) -> set[str]:
    """The ids of those that must stay."""
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
    """Take back every shard that is not planned any more; the ids of those that were sent meanwhile, so must be kept.

    Their files stay, for a later build may plan them again. before: the shards that were there when the build began; a
    planned one that was not is known to nobody yet.
    """
    others = {name: shard for name, shard in shards_of(run).items() if name not in planned}
    late = sent_of({name: shard for name, shard in before.items() if name in planned and name not in submitted})
    # Where the run is to be built again in any case, what is withdrawn now might be planned then.
    return late or {name for name, shard in others.items() if not withdraw(shard, now=clock(), turn=turn)}
