"""Attempts: what each attempt of a run sends, and in which shards."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from greennode_batch.job.prices import amount
from greennode_batch.staging.folders import RunFolder, ShardFolder, read_json
from greennode_batch.state.document import Document
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.split import Split, parts_in, parts_of, splits_of
from greennode_batch.wording import counted

FIRST_ATTEMPT = 1


class RetryShard(msgspec.Struct, frozen=True):
    """One batch file of a later attempt."""

    shard_id: str
    model: str
    requests: int
    bytes: int
    origins: tuple[str, ...]
    """The shards of the first attempt whose rows may wait for this one."""


class RetryPlan(Document, frozen=True):
    """retry.<n>.json: the requests that an attempt sends again, from its n-th build."""

    attempt: int
    created_at: float
    shards: tuple[RetryShard, ...]
    over_budget: OverBudget | None = None
    """Why the budget stopped the attempt from sending more than it had already sent."""

    @property
    def requests(self) -> int:
        """How many requests are sent again."""
        return sum(shard.requests for shard in self.shards)

    @property
    def planned(self) -> list[SentShard]:
        """The shards of the attempt, as they were built."""
        return [SentShard(self.attempt, one.shard_id, one.model, one.requests, one.origins) for one in self.shards]


class SentShard(NamedTuple):
    """A shard of any attempt."""

    attempt: int
    shard_id: str
    model: str
    requests: int
    origins: tuple[str, ...]
    """The shards of the first attempt that its requests come from."""

    def folder(self, run: RunFolder) -> ShardFolder:
        """The shard's folder in staging."""
        return run.shard(self.shard_id, attempt=self.attempt)


def planned_shards(plan: Plan) -> list[SentShard]:
    """The shards of the first attempt, from the plan. Those without requests are never sent."""
    return [SentShard(FIRST_ATTEMPT, one.shard_id, one.model, one.requests, (one.shard_id,)) for one in plan.shards]


def read_retry(run: RunFolder, attempt: int) -> RetryPlan | None:
    """Read the plan of a later attempt, or None if that attempt was not built."""
    return read_json(run.retry(attempt), RetryPlan)


def planned_model(shard: ShardFolder) -> str | None:
    """The model that a shard's requests are for; None for a shard that no plan of its run names."""
    run = shard.run
    plan = read_plan(run)
    if plan is None:
        return None
    return next((one.model for one in sent_shards(run, plan, shard.attempt) if one.shard_id == shard.shard_id), None)


def retries(run: RunFolder) -> Iterator[RetryPlan]:
    """Yield the plans of the later attempts, in order."""
    for attempt in itertools.count(FIRST_ATTEMPT + 1):
        retry = read_retry(run, attempt)
        if retry is None:
            return
        yield retry


def sent_shards(run: RunFolder, plan: Plan, attempt: int) -> list[SentShard]:
    """The shards that an attempt sends; empty if it was not built. Halves stand in place of a shard that was split."""
    if attempt == FIRST_ATTEMPT:
        planned = [one for one in planned_shards(plan) if one.requests]
    else:
        retry = read_retry(run, attempt)
        planned = retry.planned if retry else []
    return list(in_parts(planned, splits_of(run, attempt))) if planned else []


def in_parts(planned: Iterable[SentShard], splits: Mapping[str, Split]) -> Iterator[SentShard]:
    """The shards of an attempt, with its halves in place of each that was split."""
    for one in planned:
        if one.shard_id not in splits:
            yield one
        for half in parts_in(splits, one.shard_id):
            yield one._replace(shard_id=half.shard_id, requests=half.requests)


def attempt_shards(run: RunFolder, plan: Plan, attempt: int) -> list[ShardFolder]:
    """The folders of the shards that an attempt sends."""
    return [one.folder(run) for one in sent_shards(run, plan, attempt)]


def all_sent(run: RunFolder, plan: Plan) -> Iterator[SentShard]:
    """Yield the shards that a run sends, attempt by attempt."""
    yield from sent_shards(run, plan, FIRST_ATTEMPT)
    for retry in retries(run):
        yield from sent_shards(run, plan, retry.attempt)


def settling_shards(run: RunFolder, shard_id: str) -> Iterator[tuple[ShardFolder, str | None]]:
    """Yield a shard and the retry shards of its requests, each with the reason why the budget stopped further attempts.

    The reason is None if the budget did not stop them. Halves stand in place of a shard that was split.
    """
    attempts = list(retries(run))
    stops = {retry.attempt: retry.over_budget for retry in attempts}

    def why(attempt: int) -> str | None:
        stop = stops.get(attempt + 1)
        return f"{stop.reason}; attempt {attempt}" if stop else None

    for part in parts_of(run.shard(shard_id)):
        yield part, why(FIRST_ATTEMPT)
    for retry in attempts:
        for one in in_parts(retry.planned, splits_of(run, retry.attempt)):
            if shard_id in one.origins:
                yield one.folder(run), why(retry.attempt)


class OverBudget(msgspec.Struct, frozen=True):
    """Why the budget keeps requests from being sent again."""

    max_cost: float
    actual_cost: float = msgspec.field(name="spent")
    """What the run has cost so far."""
    expected: float
    """What it would cost to send the requests again."""
    requests: int
    currency: str

    @property
    def reason(self) -> str:
        """The reason, as the rows of these requests show it."""
        return f"over budget (max_cost {amount(self.max_cost, self.currency)})"

    def __str__(self) -> str:
        return (
            f"{self.reason}: {amount(self.actual_cost, self.currency)} are spent, and sending "
            f"{counted(self.requests, 'request')} again would cost about {amount(self.expected, self.currency)}"
        )
