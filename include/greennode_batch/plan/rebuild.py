"""Rebuild: a run that is built again, while tasks of the earlier build may still be at work on it.

A shard is either sent or withdrawn, by an exclusive claim, so none is paid that no plan lists. Of two builds of one
run, the one that began last stands: the other is a task that was given up, and woke.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping

from upath import UPath

from greennode_batch.errors import GreenNodeError
from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names, read_json, write_json
from greennode_batch.state.build_turn import BuildTurn
from greennode_batch.state.receipts import is_sent, reopen, withdraw


class SupersededError(GreenNodeError):
    """Another build of this run began later. This one is void, and has changed nothing that the other relies on."""


def begin_build(run: RunFolder, *, now: float) -> BuildTurn:
    """Take the turn from any build that began before."""
    turn = BuildTurn(token=secrets.token_hex(8), began_at=now)
    write_json(_turn_of(run), turn)
    return turn


def check_turn(turn: BuildTurn, run: RunFolder) -> None:
    """Raise SupersededError if the turn is another build's by now."""
    if read_json(_turn_of(run), BuildTurn) != turn:
        raise SupersededError(
            f"{run}: another build of this run began after this one, so this one has stopped and changed nothing. "
            "The plan of the other one stands; if it left none, build the run again"
        )


def shards_of(run: RunFolder) -> dict[str, ShardFolder]:
    """Every shard of the run's first attempt that was ever begun, by id."""
    return {name: run.shard(name) for name in sorted(fresh_names(run.shards))}


def sent_of(shards: Mapping[str, ShardFolder]) -> set[str]:
    """The ids of those that must stay."""
    return {shard_id for shard_id, shard in shards.items() if is_sent(shard)}


def withdraw_others(
    run: RunFolder,
    *,
    planned: Collection[str],
    kept: Collection[str],
    before: Mapping[str, ShardFolder],
    clock: Callable[[], float],
) -> set[str]:
    """Take back every shard that is not planned any more; the ids of those that were sent meanwhile, so must be kept.

    before: the shards that were there when the build began; a planned one that was not is known to nobody yet.
    """
    others = {name: shard for name, shard in shards_of(run).items() if name not in planned}
    late = sent_of({name: shard for name, shard in before.items() if name in planned and name not in kept})
    # Where the run is to be built again in any case, what is withdrawn now might be planned then.
    return late or {name for name, shard in others.items() if not withdraw(shard, now=clock())}


def reopen_all(run: RunFolder, shard_ids: Iterable[str], *, now: float) -> None:
    """Let shards be sent again that an earlier build took back."""
    for shard_id in shard_ids:
        reopen(run.shard(shard_id), now=now)


def remove_withdrawn(run: RunFolder, *, planned: Collection[str]) -> None:
    """Remove the files of what was taken back. The claims stay: they are what stops a worker that has not seen it."""
    for shard_id, shard in shards_of(run).items():
        if shard_id not in planned:
            for path in (shard.requests, shard.source, shard.copied):
                if path.exists():
                    path.unlink()


def _turn_of(run: RunFolder) -> UPath:
    return run.path / "building.json"
