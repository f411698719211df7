"""Attempts: retry.json, and the shards of each attempt of a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from greennode_batch.job.prices import amount
from greennode_batch.staging.folders import RunFolder, ShardFolder, read_json
from greennode_batch.state.document import Document
from greennode_batch.state.plan import Plan

FIRST_ATTEMPT = 1


class RetryShard(msgspec.Struct, frozen=True):
    """One batch file of a later attempt. `origins`: the shards of the first attempt whose rows may wait for it."""

    shard_id: str
    model: str
    requests: int
    bytes: int
    origins: tuple[str, ...]


class RetryPlan(Document, frozen=True):
    """retry.json: what an attempt asks again. over_budget: why it asks no more than what was sent before."""

    attempt: int
    created_at: float
    shards: tuple[RetryShard, ...]
    over_budget: OverBudget | None = None

    @property
    def requests(self) -> int:
        """Requests that are asked again."""
        return sum(shard.requests for shard in self.shards)


def read_retry(run: RunFolder, attempt: int) -> RetryPlan | None:
    """What an attempt asks again, or None if that was not built."""
    return read_json(run.retry(attempt), RetryPlan)


def retries(run: RunFolder) -> Iterator[RetryPlan]:
    """The later attempts that were built, in order."""
    for attempt in itertools.count(FIRST_ATTEMPT + 1):
        retry = read_retry(run, attempt)
        if retry is None:
            return
        yield retry


def attempt_shards(run: RunFolder, plan: Plan, attempt: int) -> list[ShardFolder]:
    """The shards that an attempt sends; none where it was not built."""
    return [sent.shard for sent in _sent_in(run, plan, attempt)]


def all_shards(run: RunFolder, plan: Plan) -> Iterator[ShardFolder]:
    """The shards that the attempts send, attempt by attempt."""
    yield from attempt_shards(run, plan, FIRST_ATTEMPT)
    for retry in retries(run):
        yield from attempt_shards(run, plan, retry.attempt)


def settling_shards(run: RunFolder, shard_id: str) -> Iterator[tuple[ShardFolder, str | None]]:
    """A shard of the first attempt and its later ones, each with the reason why it was the last for want of money.

    That is None where what is worth asking again was asked again, or no attempt was left.
    """
    attempts = list(retries(run))
    stops = {retry.attempt: retry.over_budget for retry in attempts}

    def why(attempt: int) -> str | None:
        stop = stops.get(attempt + 1)
        return f"{stop.reason}; attempt {attempt}" if stop else None

    yield run.shard(shard_id), why(FIRST_ATTEMPT)
    for retry in attempts:
        for shard in retry.shards:
            if shard_id in shard.origins:
                yield run.shard(shard.shard_id, attempt=retry.attempt), why(retry.attempt)


class _Sent(NamedTuple):
    """A shard of an attempt, the model it asks, and the shards of the first attempt that its requests stem from."""

    shard: ShardFolder
    model: str
    requests: int
    origins: frozenset[str]


def _sent_in(run: RunFolder, plan: Plan, attempt: int) -> list[_Sent]:
    if attempt == FIRST_ATTEMPT:
        return [
            _Sent(run.shard(planned.shard_id), planned.model, planned.requests, frozenset([planned.shard_id]))
            for planned in plan.shards
            if planned.requests
        ]
    retry = read_retry(run, attempt)
    return [
        _Sent(run.shard(shard.shard_id, attempt=attempt), shard.model, shard.requests, frozenset(shard.origins))
        for shard in (retry.shards if retry else ())
    ]


class OverBudget(msgspec.Struct, frozen=True):
    """Why requests are not asked again. spent: so far; expected: what it would cost to ask these requests again."""

    max_cost: float
    spent: float
    expected: float
    requests: int
    currency: str

    @property
    def reason(self) -> str:
        """Why, as each of their rows tells it."""
        return f"over budget (max_cost {amount(self.max_cost, self.currency)})"

    def __str__(self) -> str:
        return (
            f"{self.reason}: {amount(self.spent, self.currency)} are spent, and to ask {self.requests:,} requests "
            f"again would cost about {amount(self.expected, self.currency)}"
        )
