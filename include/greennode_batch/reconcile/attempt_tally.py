"""Attempt tally: adds up what an attempt sent, received and used, shard by shard."""

from __future__ import annotations

from collections import Counter

import msgspec
import pyarrow as pa

from greennode_batch.collect.collect import count_statuses
from greennode_batch.cost.actual import cost_of, counted_in, total
from greennode_batch.job.prices import Prices
from greennode_batch.state.actual_cost import AttemptReport, ShardCost
from greennode_batch.state.attempts import SentShard


class Tally:
    """Adds up the shards of one attempt."""

    def __init__(self, attempt: int, prices: Prices) -> None:
        self.attempt = attempt
        self.shards = 0
        self.requests = 0
        self.actual_cost: list[ShardCost] = []
        self._prices = prices
        self._statuses: Counter[str] = Counter()

    def add(self, shard: SentShard, results: pa.Table | None) -> None:
        """Add a sent shard. results: its results, if it is collected."""
        self.shards += 1
        self.requests += shard.requests
        if results is None:
            return
        self._statuses += count_statuses(results)
        self.actual_cost.append(
            ShardCost(
                **msgspec.structs.asdict(cost_of(results, shard.model, self._prices)),
                attempt=self.attempt,
                shard_id=shard.shard_id,
                model=shard.model,
                batch_id=results["batch_id"][0].as_py() if results.num_rows else None,
                requests=shard.requests,
                counted=counted_in(results),
            )
        )

    def report(self) -> AttemptReport:
        """The totals of the attempt."""
        return AttemptReport(
            **msgspec.structs.asdict(total(self.actual_cost)),
            attempt=self.attempt,
            shards=self.shards,
            requests=self.requests,
            statuses=dict(self._statuses.most_common()),
        )
