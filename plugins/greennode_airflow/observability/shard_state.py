"""Shard state: what Airflow's task state store says of a task that is mapped over shards, for people and their tools.

Nothing of ours reads it: the receipt in staging is the truth. It is kept by map index, and where a run is built anew
another shard may stand at that index: so each task writes its own, whole, before anything else.
"""

from __future__ import annotations

from airflow.sdk import Context

from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import read_receipt

STATE_KEY = "greennode"


def note_shard(context: Context, shard: ShardFolder) -> None:
    """Say which shard of which attempt a task has, and which file and batch that is at GreenNode, once it is one."""
    receipt = read_receipt(shard)
    context["task_state_store"].set(
        STATE_KEY,
        {
            "attempt": shard.attempt,
            "shard": shard.shard_id,
            "file_id": receipt.file_id if receipt else None,
            "batch_id": receipt.batch_id if receipt else None,
        },
    )
