"""Latency: how long after its batch was created a request had its answer, by model, in one run."""

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


@dataclass(frozen=True)
class Waits:
    """Seconds from the creation of a batch until its answers were there: of half of them, of 95 % and of all."""

    answers: int
    median: float
    p95: float
    longest: float


def answer_waits(run: RunFolder) -> dict[str, Waits]:
    """By model. What was asked again counts from the first batch on; a run that asked nothing has none.

    When an answer was made is the API's word; where it gives none, its batch's end counts. Holds 8 bytes an answer.
    """
    plan = read_plan(run)
    seconds: defaultdict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for planned in plan.shards if plan else ():
        shard = run.shard(planned.shard_id)
        receipt = read_receipt(shard)
        if receipt is None or receipt.created_at is None:
            continue
        for one, _ in settling_shards(run, planned.shard_id):
            seconds[planned.model] += [times - receipt.created_at for times in _answered_at(one)]
    return {model: _waits(np.concatenate(parts)) for model, parts in seconds.items() if sum(map(len, parts))}


def _answered_at(shard: ShardFolder) -> Iterator[npt.NDArray[np.float64]]:
    """Epoch seconds of the answers of a shard that is collected."""
    if shard.results.exists():
        rows = read_staged(shard.results, ["status", "completed_at"])
        times = rows.filter(pc.equal(rows["status"], RowStatus.SUCCEEDED.value))["completed_at"].drop_null()
        yield times.cast("int64").to_numpy() / 1e6


def _waits(seconds: npt.NDArray[np.float64]) -> Waits:
    # The server's clock, and its whole seconds, may put an answer before its batch.
    seconds = np.maximum(seconds, 0)
    median, p95 = np.percentile(seconds, [50, 95])
    return Waits(len(seconds), float(median), float(p95), float(seconds.max()))
