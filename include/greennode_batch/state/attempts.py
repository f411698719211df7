"""Attempts: what each attempt of a run asks, and its shards."""

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
    """retry.<n>.json: what an attempt asks again, by its n-th build.

    over_budget: why it asks no more than what was sent before.
    """

    attempt: int
    created_at: float
    shards: tuple[RetryShard, ...]
    over_budget: OverBudget | None = None

    @property
    def requests(self) -> int:
        """Requests that are asked again."""
        return sum(shard.requests for shard in self.shards)

    @property
    def sent(self) -> list[SentShard]:
        """The shards that the attempt sends."""
        return [SentShard(self.attempt, one.shard_id, one.model, one.requests, one.origins) for one in self.shards]


class SentShard(NamedTuple):
    """A shard of any attempt. origins: the shards of the first attempt that its requests stem from."""

    attempt: int
    shard_id: str
    model: str
    requests: int
    origins: tuple[str, ...]

    def folder(self, run: RunFolder) -> ShardFolder:
        """Where it lies."""
        return run.shard(self.shard_id, attempt=self.attempt)


def planned_shards(plan: Plan) -> list[SentShard]:
    """The shards of the first attempt, as its plan has them. One that has no requests is never sent."""
    return [SentShard(FIRST_ATTEMPT, one.shard_id, one.model, one.requests, (one.shard_id,)) for one in plan.shards]


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


def sent_shards(run: RunFolder, plan: Plan, attempt: int) -> list[SentShard]:
    """The shards that an attempt sends; none where it was not built."""
    if attempt == FIRST_ATTEMPT:
        return [one for one in planned_shards(plan) if one.requests]
    retry = read_retry(run, attempt)
    return retry.sent if retry else []


def attempt_shards(run: RunFolder, plan: Plan, attempt: int) -> list[ShardFolder]:
    """The folders of these."""
    return [one.folder(run) for one in sent_shards(run, plan, attempt)]


def all_sent(run: RunFolder, plan: Plan) -> Iterator[SentShard]:
    """The shards that the attempts send, attempt by attempt."""
    yield from sent_shards(run, plan, FIRST_ATTEMPT)
    for retry in retries(run):
        yield from retry.sent


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
        for one in retry.sent:
            if shard_id in one.origins:
                yield one.folder(run), why(retry.attempt)


class OverBudget(msgspec.Struct, frozen=True):
    """Why requests are not asked again. actual_cost: so far; expected: what asking them again would cost."""

    max_cost: float
    actual_cost: float = msgspec.field(name="spent")
    expected: float
    requests: int
    currency: str

    @property
    def reason(self) -> str:
        """Why, as each of their rows tells it."""
        return f"over budget (max_cost {amount(self.max_cost, self.currency)})"

    def __str__(self) -> str:
        return (
            f"{self.reason}: {amount(self.actual_cost, self.currency)} are spent, and to ask "
            f"{self.requests:,} requests "
            f"again would cost about {amount(self.expected, self.currency)}"
        )
