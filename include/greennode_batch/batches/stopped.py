"""Stopped: a shard is not sent while its run has a stop that applies to it."""

from __future__ import annotations

from greennode_batch.errors import SystematicFailureError, UnreadResultsError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import is_sent
from greennode_batch.state.shard_model import model_of
from greennode_batch.state.stops import Stop, is_in_run, stops_folder, stops_in


def refuse_stopped(shard: ShardFolder) -> None:
    """Raise UnreadResultsError or SystematicFailureError for a shard that must not be sent; any other passes."""
    stops = list(stops_in(stops_folder(shard)))
    if not stops or is_sent(shard):
        return
    for stop in stops:
        if stop.model is None or (stop.model == model_of(shard) and not _is_built_since(shard, stop)):
            kind = UnreadResultsError if stop.kind == "unread_results" else SystematicFailureError
            raise kind(f"shard {shard.shard_id} is not sent because of shard {stop.shard_id} of its run: {stop.words}")


def _is_built_since(shard: ShardFolder, stop: Stop) -> bool:
    """Whether the requests were built since, perhaps from another prompt: then they are not those that failed."""
    plan = read_plan(shard.run) if is_in_run(shard) and shard.attempt == FIRST_ATTEMPT else None
    return plan is not None and plan.created_at > stop.noted_at
