"""Shard groups: which shards each instance of a mapped task takes.

Airflow maps a task over `[core] max_map_length` values at most. A run with no more shards has an instance for each. In
a larger run each instance takes several, one after the other, and there are far fewer instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from greennode_airflow.runtime.runs import shard_at
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, planned_shards, sent_shards
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.split import parts_of

SHARD_NAME = "{{ task.shard_name }}"
"""The label of an instance of a mapped task on Airflow's pages, in place of its number."""

# In each turn, Airflow's scheduler looks at all instances that have not begun, at about 4 ms each. Three tasks of 1,024
# instances made turns of 12 s (`make bench SHARDS=5000`), in which no DAG gets a task.
_MOST_GROUPS = 50
# Airflow keeps 250.
_NAME_CHARACTERS = 200

Shards = str | Sequence[str]
"""The folder of one shard, or those of a group, as an instance receives it."""


def shard_groups(shards: Sequence[ShardFolder]) -> list[Shards]:
    """The values for an attempt's mapped tasks: folders, or lists of them, in order and of one length.

    The last list has the rest. The same number of shards is always split in the same way: a rebuilt run keeps the
    groups.
    """
    folders = [str(shard) for shard in shards]
    size = shards_per_instance(len(folders))
    if size == 1:
        return [*folders]
    return [folders[start : start + size] for start in range(0, len(folders), size)]


def shards_per_instance(shards: int) -> int:
    """How many of an attempt's shards each instance takes in this Airflow."""
    most = conf.getint("core", "max_map_length", fallback=1024)
    return 1 if shards <= most else group_size(shards, min(most, _MOST_GROUPS))


def group_size(shards: int, instances: int) -> int:
    """How many of an attempt's shards each instance takes, for at most so many instances."""
    return max(1, -(-shards // max(1, instances)))


def shards_in(group: Shards) -> list[ShardFolder]:
    """The shards that an instance was given."""
    return [shard_at(path) for path in ([group] if isinstance(group, str) else group)]


def shards_to_send(group: Shards) -> list[ShardFolder]:
    """Those of them that hold requests, or the parts that they were split into. Skips the task if none does."""
    shards = [part for shard in shards_in(group) if not is_empty(shard) for part in parts_of(shard)]
    if not shards:
        raise AirflowSkipException("no row of this shard can be sent; they go to the target as unsent")
    return shards


def name_of(group: Shards) -> str:
    """The model and the batch of a shard, or of the first of a group; empty if staging does not have them.

    A shard without a batch is named by the beginning of its id.
    """
    # It is for people to read: no task fails because it is missing.
    with suppress(Exception):
        first, *others = [part for shard in shards_in(group) for part in parts_of(shard)]
        receipt, plan = read_receipt(first), read_plan(first.run)
        sent = [] if plan is None else sent_shards(first.run, plan, first.attempt)
        sent += planned_shards(plan) if plan and first.attempt == FIRST_ATTEMPT else []
        model = next((one.model for one in sent if one.shard_id == first.shard_id), None)
        batch = receipt.batch_id if receipt and receipt.batch_id else f"shard {first.shard_id[:8]}"
        more = [f"and {len(others)} more"] if others else []
        return " ".join([*filter(None, [model]), batch, *more])[:_NAME_CHARACTERS]
    return ""


def is_empty(shard: ShardFolder) -> bool:
    """Whether a shard has no request to send."""
    return shard.requests.exists() and shard.requests.stat().st_size == 0
