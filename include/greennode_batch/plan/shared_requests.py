"""Shared requests: the requests of a run that another run asks for the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from greennode_batch.staging.folders import RunFolder
from greennode_batch.staging.parquet import read_staged
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import is_sent
from greennode_batch.tables.fingerprint import row_hashes
from greennode_batch.tables.text_hashes import Hashes


def unsent_requests(run: RunFolder, plan: Plan) -> Hashes:
    """The hashes of the rows whose requests a run has not sent yet, by key and request. 8 bytes a row."""
    return _hashes(run, plan, [shard.shard_id for shard in plan.shards if not is_sent(run.shard(shard.shard_id))])


def shared_requests(unsent: Hashes, other: RunFolder, plan: Plan) -> int:
    """How many of these rows another run asks. plan: the other run's."""
    asked = _hashes(other, plan, [shard.shard_id for shard in plan.shards])
    return int(np.count_nonzero(np.isin(unsent, asked)))


def _hashes(run: RunFolder, plan: Plan, shard_ids: list[str]) -> Hashes:
    requested = {shard.shard_id for shard in plan.shards if shard.requests}
    made = [np.empty(0, np.uint64)]
    for shard_id in shard_ids:
        if shard_id in requested:
            rows = read_staged(run.shard(shard_id).source, [*plan.key, "custom_id"])
            rows = rows.filter(rows["custom_id"].is_valid())
            made.append(row_hashes(rows.append_column("status", pa.nulls(rows.num_rows, pa.string())), plan.key))
    return np.concatenate(made)
