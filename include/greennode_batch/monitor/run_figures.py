"""Run figures: how far a run is, what it has used and cost, and how long it may take, from its files in staging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from greennode_batch.job.prices import Prices
from greennode_batch.monitor.live_batches import LiveBatch
from greennode_batch.monitor.staged_run import StagedRun, StagedShard
from greennode_batch.state.actual_cost import ActualCost
from greennode_batch.state.cost_estimate import Estimate
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.run_report import RunReport

# Earlier than this, or with fewer answers, a rate means nothing.
_RATED_SECONDS = 5.0


class Cost(msgspec.Struct, frozen=True):
    """What tokens cost in a batch, and how much more they would cost in real time."""

    amount: float
    saving: float
    currency: str


class Tried(msgspec.Struct, frozen=True):
    """The first requests of a run, tried live at the full price. cost: None if it is unknown."""

    requests: int
    cost: float | None
    currency: str


class LiveFigures(msgspec.Struct, frozen=True):
    """What was answered live; included in the run's tokens and cost. cost: None if it is unknown."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    currency: str


class ShardFigures(msgspec.Struct, frozen=True):
    """One shard, as a person reads it. server_status: the server's own word, if it was asked. Epoch seconds."""

    attempt: int
    index: int
    shard_id: str
    model: str
    stage: str
    batch_id: str | None
    requests: int
    done: int
    failed: int
    statuses: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    cost: Cost | None
    sent_at: float | None
    seconds_left: float | None
    server_status: str | None
    over_capacity: int
    lost: str | None


class RunFigures(msgspec.Struct, frozen=True):
    """A run in numbers.

    rows: rows of the source times models and samples; per: which of `model` and `sample` distinguish rows of one key.
    unchanged, remembered: further rows that have an answer, or a final outcome, since an earlier run.
    kept_answers: rows that failed, and whose earlier answer stays.
    requests: the distinct requests of these rows; requested, done: the same, summed over all attempts.
    statuses: of rows after the report, of requests before it. failed: without an answer so far. stages: the number of
    shards by stage. cost: from the report or, before it, from the plan's prices, which count no token as cached.
    unpriced: models without a price, for which there is no cost. estimate: of the cost, before anything was sent.
    tried: what is added to the cost. live: what was answered live, so far. unheard: batches under way that the server
    has not reported on yet. seconds_left: until the slowest batch is done, at its rate so far; None if unknown.
    """

    rows: int
    per: tuple[str, ...]
    unchanged: int
    remembered: int
    kept_answers: int
    unsent: int
    requests: int
    requested: int
    done: int
    succeeded: int
    failed: int
    statuses: dict[str, int]
    counts_rows: bool
    shards: int
    stages: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: Cost | None
    unpriced: tuple[str, ...]
    estimate: Estimate | None
    tried: Tried | None
    live: LiveFigures | None
    seconds_left: float | None
    unheard: int
    attempts: int


def shard_figures(run: StagedRun, shard: StagedShard, live: Mapping[str, LiveBatch], *, now: float) -> ShardFigures:
    """One shard of a run in numbers. now: epoch seconds."""
    receipt, stage = shard.receipt, shard.stage
    seen = live.get(shard.batch_id or "") if shard.is_open else None
    is_under_way = shard.answering is not None or (seen is not None and not seen.is_over)
    done, failed = 0, 0
    if stage == "collected":
        done = shard.requests
        failed = done - receipt.statuses.get(RowStatus.SUCCEEDED, 0) if receipt and receipt.statuses else 0
    elif receipt is not None and stage == "answered":
        done = receipt.live.answered if receipt.live else 0
    elif shard.answering is not None:
        done = min(shard.answering.settled, shard.requests)
    elif seen is not None:
        done = min(seen.done + seen.failed, shard.requests)
        failed = min(seen.failed, done)
    return ShardFigures(
        attempt=shard.attempt,
        index=shard.index,
        shard_id=shard.shard_id,
        model=shard.model,
        stage=stage,
        batch_id=shard.batch_id,
        requests=shard.requests,
        done=done,
        failed=failed,
        statuses=dict(receipt.statuses) if receipt else {},
        prompt_tokens=receipt.prompt_tokens if receipt else 0,
        completion_tokens=receipt.completion_tokens if receipt else 0,
        cost=_shard_cost(run, shard),
        sent_at=receipt.created_at if receipt else None,
        seconds_left=_seconds_left(shard, done, now) if is_under_way else None,
        server_status=seen.status if seen else None,
        over_capacity=len(receipt.over_capacity) if receipt else 0,
        lost=receipt.lost if receipt else None,
    )


def run_figures(run: StagedRun, live: Mapping[str, LiveBatch], *, is_over: bool, now: float) -> RunFigures:
    """The run in numbers. is_over: whether Airflow has finished the run, so that its report is up to date."""
    shards = [shard_figures(run, shard, live, now=now) for shard in run.shards]
    sent = [shard for shard in shards if shard.stage != "empty"]
    report = run.report if is_over or run.was_removed else None
    plan = run.plan
    if report is not None:
        requests, statuses = report.requests, dict(report.statuses)
        succeeded = report.succeeded
        failed = report.rows - succeeded
    else:
        requests = plan.requests if plan else 0
        succeeded = sum(shard.statuses.get(RowStatus.SUCCEEDED, 0) for shard in sent)
        statuses = _statuses(sent)
        failed = sum(statuses.values()) - succeeded
    open_shards = [shard for shard in run.shards if shard.is_open]
    answering = sum(shard.answering is not None for shard in run.shards)
    return RunFigures(
        rows=report.rows if report else plan.rows if plan else 0,
        per=plan.target_key[len(plan.key) :] if plan else (),
        unchanged=report.unchanged if report else plan.unchanged if plan else 0,
        remembered=sum(told.remembered.values()) if (told := report or plan) else 0,
        kept_answers=report.kept_answers if report else 0,
        unsent=plan.unsent if plan else 0,
        requests=requests,
        requested=sum(shard.requests for shard in sent) or requests,
        done=sum(shard.done for shard in sent) if sent else requests if report else 0,
        succeeded=succeeded,
        failed=failed,
        statuses=statuses,
        counts_rows=report is not None,
        shards=len(sent) or (report.shards if report else 0),
        stages=dict(Counter(shard.stage for shard in sent)),
        prompt_tokens=_tokens(run, report, "prompt_tokens"),
        completion_tokens=_tokens(run, report, "completion_tokens"),
        cached_tokens=report.cached_tokens if report else 0,
        reasoning_tokens=report.reasoning_tokens if report else 0,
        cost=_reported(report, report.currency) if report else _cost(run.shards, _prices(run)),
        unpriced=_unpriced_by(report) if report else tuple(sorted(_unpriced(run.shards, _prices(run)))),
        estimate=report.estimate if report else plan.estimate if plan else None,
        tried=_tried(run),
        live=_live(run, report),
        seconds_left=_run_seconds_left(run, shards, len(open_shards) + answering),
        unheard=sum((shard.batch_id or "") not in live for shard in open_shards),
        attempts=max((shard.attempt for shard in shards), default=0),
    )


def _statuses(shards: Iterable[ShardFigures]) -> dict[str, int]:
    """Requests by their latest outcome.

    Requests of a later attempt had no answer before; which of the earlier outcomes was theirs is not known.
    """
    counted: Counter[str] = Counter()
    again = 0
    for shard in shards:
        counted.update(shard.statuses)
        if shard.attempt > 1:
            again += shard.requests
    if not again:
        return dict(counted.most_common())
    succeeded = counted.pop(RowStatus.SUCCEEDED, 0)
    left = max(counted.total() - again, 0)
    return {RowStatus.SUCCEEDED.value: succeeded, **({"without_answer": left} if left else {})}


def _tokens(run: StagedRun, report: RunReport | None, name: str) -> int:
    if report is not None:
        return int(getattr(report, name))
    return sum(getattr(shard.receipt, name) for shard in run.shards if shard.receipt is not None)


def _used(shards: Iterable[StagedShard]) -> dict[str, tuple[int, int]]:
    """Prompt and completion tokens by model."""
    used: dict[str, tuple[int, int]] = {}
    for shard in shards:
        if shard.receipt is not None and (shard.receipt.prompt_tokens or shard.receipt.completion_tokens):
            prompt, completion = used.get(shard.model, (0, 0))
            used[shard.model] = (prompt + shard.receipt.prompt_tokens, completion + shard.receipt.completion_tokens)
    return used


def _prices(run: StagedRun) -> Prices | None:
    return run.plan.prices if run.plan else None


def _shard_cost(run: StagedRun, shard: StagedShard) -> Cost | None:
    if shard.actual_cost is not None and run.report is not None:
        return _reported(shard.actual_cost, run.report.currency)
    return _cost([shard], _prices(run))


def _reported(actual_cost: ActualCost | RunReport, currency: str) -> Cost | None:
    if (
        actual_cost.cost is None
        or actual_cost.saving is None
        or not (actual_cost.prompt_tokens or actual_cost.completion_tokens)
    ):
        return None
    return Cost(actual_cost.cost, actual_cost.saving, currency)


def _tried(run: StagedRun) -> Tried | None:
    """By their tokens: no discount for cached tokens."""
    if not run.canaries:
        return None
    prices = _prices(run)
    if prices is None or any(one.model not in prices.by_model for one in run.canaries):
        return Tried(len(run.canaries), None, "")
    cost = sum(prices.by_model[one.model].of(one.prompt_tokens, one.completion_tokens) for one in run.canaries)
    return Tried(len(run.canaries), cost, prices.currency)


def _live(run: StagedRun, report: RunReport | None) -> LiveFigures | None:
    """From the report or, before it, from the receipts of what is collected."""
    if report is not None:
        said = report.live
        if said is None:
            return None
        return LiveFigures(said.requests, said.prompt_tokens, said.completion_tokens, said.cost, report.currency)
    shards = [shard for shard in run.shards if shard.receipt is not None and shard.receipt.live is not None]
    if not shards:
        return None
    prices, used = _prices(run), _used(shards)
    cost = None if prices is None or _unpriced(shards, prices) else _live_price(shards, prices)
    return LiveFigures(
        sum(shard.requests for shard in shards),
        sum(prompt for prompt, _ in used.values()),
        sum(completion for _, completion in used.values()),
        cost,
        prices.currency if prices else "",
    )


def _unpriced_by(report: RunReport) -> tuple[str, ...]:
    return tuple(sorted(one.model for one in report.models if one.cost is None))


def _unpriced(shards: Iterable[StagedShard], prices: Prices | None) -> set[str]:
    return {model for model in _used(shards) if prices is None or model not in prices.by_model}


def _cost(shards: Sequence[StagedShard], prices: Prices | None) -> Cost | None:
    used = _used(shards)
    if prices is None or not used or _unpriced(shards, prices):
        return None
    live_price = _live_price(shards, prices)
    # What was answered live was paid in full.
    in_batches = _live_price([one for one in shards if one.receipt is None or one.receipt.live is None], prices)
    saving = in_batches - prices.in_batch(in_batches)
    return Cost(live_price - saving, saving, prices.currency)


def _live_price(shards: Sequence[StagedShard], prices: Prices) -> float:
    return sum(prices.by_model[model].of(*tokens) for model, tokens in _used(shards).items())


def _seconds_left(shard: StagedShard, done: int, now: float) -> float | None:
    """How long the rest takes at the average rate since the batch was created, or of the worker that answers live."""
    if shard.answering is not None:
        return (shard.requests - done) / shard.answering.per_second if shard.answering.per_second > 0 else None
    created = shard.receipt.created_at if shard.receipt else None
    if created is None or not done or now - created < _RATED_SECONDS:
        return None
    return (shard.requests - done) * (now - created) / done


def _run_seconds_left(run: StagedRun, shards: Sequence[ShardFigures], under_way: int) -> float | None:
    """Batches run side by side, so the slowest one counts; unknown while most of them have not begun.

    What is to be answered live takes as long as all workers together need for it. Where no batch is under way, that is
    also what is not sent yet.
    """
    known = [shard.seconds_left for shard in shards if shard.seconds_left is not None]
    if not known or len(known) * 2 < under_way:
        return None
    rate = sum(shard.answering.per_second for shard in run.shards if shard.answering is not None)
    if not rate or any(shard.is_open for shard in run.shards):
        return max(known)
    left = sum(shard.requests - shard.done for shard in shards if shard.stage in {"built", "refused", "answering"})
    return max(*known, left / rate)
