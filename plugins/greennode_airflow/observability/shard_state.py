"""Shard state: entries in Airflow's task state store about a task that is mapped over shards, for people and tools.

Our code does not read it: the receipt in staging is what counts. It is stored by map index, and after a rebuild another
shard may have that index: so each task first writes its own entry, in full.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow.sdk import Context
from pydantic import JsonValue

from greennode_airflow.runtime.airflow_features import store_task_state
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import read_receipt

STATE_KEY = "greennode"


def note_shards(context: Context, shards: Sequence[ShardFolder]) -> None:
    """Record which shard of which attempt a task has, and its file and batch at GreenNode once they exist.

    For a task that has several shards, a list of these.
    """
    notes: list[JsonValue] = [_note(shard) for shard in shards]
    store_task_state(context, STATE_KEY, notes[0] if len(notes) == 1 else notes)


def _note(shard: ShardFolder) -> JsonValue:
    receipt = read_receipt(shard)
    return {
        "attempt": shard.attempt,
        "shard": shard.shard_id,
        "file_id": receipt.file_id if receipt else None,
        "batch_id": receipt.batch_id if receipt else None,
    }
