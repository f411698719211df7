"""Latency: the time from the creation of a batch to its answers, by model, in one run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.staging.parquet import read_staged
from greennode_batch.state.attempts import settling_shards
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.split import parts_of


@dataclass(frozen=True)
class Waits:
    """How long the answers of one model took, in seconds from the creation of their batch."""

    answers: int
    """How many answers were measured."""
    median: float
    p95: float
    """95 % of the answers took at most this long."""
    longest: float


def answer_waits(run: RunFolder) -> dict[str, Waits]:
    """Measure a run's latencies by model; empty if the run sent nothing.

    A request that was sent again counts from its first batch. The time of an answer comes from the API, or is the end
    of its batch if the API gives none. Holds 8 bytes per answer.
    """
    plan = read_plan(run)
    seconds: defaultdict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for planned in plan.shards if plan else ():
        shard = run.shard(planned.shard_id)
        receipts = map(read_receipt, parts_of(shard))
        created = [receipt.created_at for receipt in receipts if receipt is not None and receipt.created_at is not None]
        if not created:
            continue
        for one, _ in settling_shards(run, planned.shard_id):
            seconds[planned.model] += [times - min(created) for times in _answered_at(one)]
    return {model: _waits(np.concatenate(parts)) for model, parts in seconds.items() if sum(map(len, parts))}


def _answered_at(shard: ShardFolder) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the times of a collected shard's answers, in epoch seconds."""
    if shard.results.exists():
        rows = read_staged(shard.results, ["status", "completed_at"])
        times = rows.filter(pc.equal(rows["status"], RowStatus.SUCCEEDED.value))["completed_at"].drop_null()
        yield times.cast("int64").to_numpy() / 1e6


def _waits(seconds: npt.NDArray[np.float64]) -> Waits:
    # The server's clock and rounding to seconds may date an answer before its batch.
    seconds = np.maximum(seconds, 0)
    median, p95 = np.percentile(seconds, [50, 95])
    return Waits(len(seconds), float(median), float(p95), float(seconds.max()))
