"""Shard state: what Airflow's task state store says of a task that is mapped over shards, for people and their tools.

Nothing of ours reads it: the receipt in staging is the truth. It is kept by map index, and where a run is built again
another shard may stand at that index: so each task writes its own, whole, before anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow.sdk import Context
from pydantic import JsonValue

from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import read_receipt

STATE_KEY = "greennode"


def note_shards(context: Context, shards: Sequence[ShardFolder]) -> None:
    """Say which shard of which attempt a task has, and which file and batch that is at GreenNode, once it is one.

    Of a task that has several shards, a list of these.
    """
    notes: list[JsonValue] = [_note(shard) for shard in shards]
    context["task_state_store"].set(STATE_KEY, notes[0] if len(notes) == 1 else notes)


def _note(shard: ShardFolder) -> JsonValue:
    receipt = read_receipt(shard)
    return {
        "attempt": shard.attempt,
        "shard": shard.shard_id,
        "file_id": receipt.file_id if receipt else None,
        "batch_id": receipt.batch_id if receipt else None,
    }
