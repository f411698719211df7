"""Shard groups: which shards each instance of a mapped task takes.

Airflow maps a task over `[core] max_map_length` values at most. A run of no more shards has an instance for each; in a
larger one each instance takes several, one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from greennode_airflow.runtime.runs import shard_at
from greennode_batch.staging.folders import ShardFolder

Shards = str | Sequence[str]
"""The folder of one shard, or those of a group, as an instance gets it."""


def shard_groups(shards: Sequence[ShardFolder]) -> list[Shards]:
    """What the tasks of an attempt are mapped over: folders, or lists of them, in their order and of one length.

    The last list has the rest. As many shards are always cut in the same places: a run that is built again keeps them.
    """
    folders = [str(shard) for shard in shards]
    size = group_size(len(folders), conf.getint("core", "max_map_length", fallback=1024))
    if size == 1:
        return [*folders]
    return [folders[start : start + size] for start in range(0, len(folders), size)]


def group_size(shards: int, instances: int) -> int:
    """How many of an attempt's shards each instance takes, where there may be so many instances, or are."""
    return max(1, -(-shards // max(1, instances)))


def shards_in(group: Shards) -> list[ShardFolder]:
    """The shards that an instance was given."""
    return [shard_at(path) for path in ([group] if isinstance(group, str) else group)]


def shards_to_send(group: Shards) -> list[ShardFolder]:
    """Those of them that hold requests. Skips the task where none does."""
    shards = [shard for shard in shards_in(group) if not _is_empty(shard)]
    if not shards:
        raise AirflowSkipException("no row of this shard can be sent; they go to the target as unsent")
    return shards


def _is_empty(shard: ShardFolder) -> bool:
    return shard.requests.exists() and shard.requests.stat().st_size == 0
