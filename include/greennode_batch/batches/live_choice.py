"""Live choice: whether a shard is answered live, and when a run that has to finish by a time stops waiting for batches.

    build ─────── batches may run ───────► cancel ── they end ──► the rest live ──► finish_by

The time for the live part follows from the latency of the canaries and the connection's limits. Airflow's own time,
from the end of a task to the start of the next, is added.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.batches.wait import GRACE_SECONDS, NO_SCHEDULE, Schedule
from greennode_batch.errors import BudgetError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, all_sent, sent_shards
from greennode_batch.state.canaries import read_canaries
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.receipts import is_live, is_sent, is_to_be_split, read_receipt
from greennode_batch.wording import given_by

# How long an answer takes, while none was measured.
_UNKNOWN_SECONDS = 10.0
# Some answers are slower than the first, and some requests are sent twice.
_ALLOWANCE = 1.5
_CANCEL_SHARE = 0.1
# The most of a short time that is left for the starts of tasks.
_STARTS_SHARE = 1 / 3
_MINUTE = 60.0


def schedule_of(
    live: Live | None, run: RunFolder, limits: LiveLimits | None = None, *, starts_seconds: float = 0.0
) -> Schedule:
    """The times of a run. Without `finish_by`, they never come.

    starts_seconds: how long the starts of all tasks take that follow a cancel.
    """
    if live is None or live.finish_by is None or (plan := read_plan(run)) is None:
        return NO_SCHEDULE
    allowed = live.finish_by.total_seconds()
    end = plan.created_at + allowed
    live_part = live_seconds(run, plan, limits or LiveLimits()) + min(starts_seconds, _STARTS_SHARE * allowed)
    give_up_at = max(plan.created_at, end - live_part)
    allowance = min(GRACE_SECONDS, _CANCEL_SHARE * allowed)
    return Schedule(max(plan.created_at, give_up_at - allowance), give_up_at, end, live.pay_twice)


def live_seconds(run: RunFolder, plan: Plan, limits: LiveLimits) -> float:
    """How long it takes to answer all requests of a plan live, with an allowance."""
    measured = [canary.seconds for canary in read_canaries(run) if canary.seconds]
    latency = max(measured, default=_UNKNOWN_SECONDS)
    at_a_time = min(limits.max_concurrency, max(1, plan.requests))
    minutes = [plan.requests / limits.max_requests_per_minute] if limits.max_requests_per_minute else []
    if limits.max_tokens_per_minute and plan.estimate is not None:
        tokens = plan.estimate.prompt_tokens + (plan.estimate.completion_tokens or 0)
        minutes.append(tokens / limits.max_tokens_per_minute)
    seconds = max(latency * math.ceil(plan.requests / at_a_time), *(one * _MINUTE for one in minutes), 0.0)
    return _ALLOWANCE * seconds


def goes_live(
    job: BatchJob,
    shard: ShardFolder,
    *,
    limits: LiveLimits | None = None,
    starts_seconds: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> bool:
    """Whether a shard is answered live: as its job says, unless it has been sent already.

    starts_seconds: as in `schedule_of`.

    Over the budget's `max_live_cost` a shard goes into a batch. Raises BudgetError if the job has no batches.
    """
    if is_sent(shard):
        return is_live(shard)
    if is_to_be_split(shard):
        return False  # its halves are answered, and not the shard as well
    live = job.live
    if live is None or (plan := read_plan(shard.run)) is None:
        return live is not None and live.only
    run, attempt = shard.run, shard.attempt
    requests = sum(one.requests for one in sent_shards(run, plan, attempt))
    is_late = live.finish_by is not None and (
        attempt > FIRST_ATTEMPT or clock() >= schedule_of(live, run, limits, starts_seconds=starts_seconds).cancel_at
    )
    if not (live.answers_at_once(requests) or is_late):
        return False
    over = _over_live_budget(job, run, plan, attempt)
    if over and live.only:
        raise BudgetError(
            f"attempt {attempt} is not answered live: {over}. Nothing of it was sent. Raise the budget, or send less"
        )
    return not over


def _over_live_budget(job: BatchJob, run: RunFolder, plan: Plan, attempt: int) -> str:
    """Why the budget forbids to answer an attempt live; empty if it does not."""
    limit = job.budget.max_live_cost if job.budget is not None else None
    if limit is None:
        return ""
    if plan.estimate is None or plan.estimate.live_cost is None:
        return "its live cost is unknown"
    expected = sum(_expected(plan, one.model) * one.requests for one in sent_shards(run, plan, attempt))
    spent = 0.0
    for one in all_sent(run, plan):
        receipt = read_receipt(one.folder(run)) if one.attempt != attempt else None
        if receipt is not None and receipt.live is not None and plan.prices is not None:
            spent += plan.prices.by_model[one.model].of(receipt.prompt_tokens, receipt.completion_tokens)
    if spent + expected <= limit:
        return ""
    return f"about {spent + expected:,.4g} would be over {given_by('max_live_cost')} ({limit:,})"


def _expected(plan: Plan, model: str) -> float:
    """What one live request costs by the plan's estimate."""
    assert plan.estimate is not None
    of_model = plan.estimate.by_model.get(model)
    cost = of_model.live_cost if of_model is not None else plan.estimate.live_cost
    return (cost or 0.0) / max(1, plan.requests_by_model.get(model, plan.requests))
