"""Retry: the requests of an attempt that are worth sending again become the shards of the next one.

A request keeps its line, byte for byte, and so its `custom_id`. If a job explains errors, a request whose answer did
not fit gets the explanation appended to its messages. It keeps its `custom_id`, which identifies its rows: then that is
the hash of the first request, no longer of the line. Requests with an answer, or with a failure that would come again,
are never included.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.same_failure import same_failure
from greennode_batch.errors import ConfigError, UnreadResultsError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import Prices, read_prices
from greennode_batch.plan.shard_file import ShardFile, ShardLimits, shard_limits
from greennode_batch.request.request_lines import id_of_line, lines_of, request_ids
from greennode_batch.retry.explanations import Explanation, explained, explanations
from greennode_batch.retry.retry_budget import over_budget
from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names, land, work_folder, write_json
from greennode_batch.staging.parquet import read_staged
from greennode_batch.state.attempts import (
    FIRST_ATTEMPT,
    OverBudget,
    RetryPlan,
    RetryShard,
    SentShard,
    planned_shards,
    read_retry,
    sent_shards,
)
from greennode_batch.state.build_turn import check_turn, take_turn
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import is_sent, withdraw
from greennode_batch.state.split import splits_of
from greennode_batch.state.stops import failing_path, lift_stop, stops_of

log = logging.getLogger(__name__)

_LINES_TOGETHER = 500


def build_retry(
    job: BatchJob,
    run: RunFolder,
    plan: Plan,
    *,
    attempt: int,
    profile: ApiProfile,
    prices: Prices | None = None,
    clock: Callable[[], float] = time.time,
) -> RetryPlan:
    """Build the shards of an attempt (2, 3, …) from the results of the one before.

    Holds the ids of one shard, and some megabytes of explanations. Safe to call again, also when more results have
    come: shards that were sent stay as they are, and only the rest is built. A shard without results has nothing to
    send again yet. If sending again would exceed the job's budget, nothing more is built, and its rows become `unsent`.
    prices: the job's by default. A model with nearly all requests ended for one reason is left out, unless the job says
    otherwise. Raises SupersededError if another build of the attempt began meanwhile, and UnreadResultsError while
    results of the run could not be read: then nothing is sent again.
    """
    prices = prices or read_prices(job.prices or {})
    _refuse_unread(run, attempt)
    folder = run.attempt(attempt)
    turn = take_turn(folder, now=clock())
    old = read_retry(run, attempt)
    failing = _failing_models(job, run, plan, attempt, now=clock())
    while True:
        kept = _kept(run, plan, attempt, old)
        stop = _over_budget(job, run, plan, attempt, kept=kept, prices=prices, failing=failing)
        with work_folder(run.path) as work:
            writer = _RetryWriter(
                run=run,
                attempt=attempt,
                work=Path(work),
                limits=shard_limits(job, profile),
                explains=job.explain_errors,
            )
            for sent in () if stop else sent_shards(run, plan, attempt - 1):
                if sent.model in failing:
                    continue
                again = _worth_retrying(sent.folder(run))
                for earlier in kept if again else ():
                    if not set(sent.origins).isdisjoint(earlier.origins):
                        again.difference_update(request_ids(run.shard(earlier.shard_id, attempt=attempt)))
                if again:
                    writer.add(sent, again)
            made = writer.close()
        retry = RetryPlan(attempt=attempt, created_at=clock(), shards=(*kept, *made), over_budget=stop)
        check_turn(folder, turn)
        if _withdraw_others(run, retry, turn=turn, now=clock()):
            write_json(folder / f"retry.{turn}.json", retry)
            # A build that was written too late is not the latest, and must not be used.
            check_turn(folder, turn)
            return retry


def _refuse_unread(run: RunFolder, attempt: int) -> None:
    """Raise UnreadResultsError while results of the run wait for a profile that reads them."""
    for stop in stops_of(run):
        if stop.kind == "unread_results":
            raise UnreadResultsError(f"attempt {attempt} is not built, because of shard {stop.shard_id}: {stop.words}")


def _failing_models(job: BatchJob, run: RunFolder, plan: Plan, attempt: int, *, now: float) -> set[str]:
    """The models that are left out because nearly all of their requests ended for one reason.

    The whole attempt before decides: one shard's finding about a model is taken back if others are better.
    """
    failing: set[str] = set()
    by_model: dict[str, list[ShardFolder]] = {}
    for sent in sent_shards(run, plan, attempt - 1):
        by_model.setdefault(sent.model, []).append(sent.folder(run))
    for model, shards in by_model.items():
        ratio = job.systematic_failure_ratio
        failure = None if ratio is None else same_failure(shards, ratio, explains_errors=job.explain_errors)
        if failure is None:
            lift_stop(failing_path(shards[0], model))
        else:
            log.error("Attempt %d leaves out model %s: %s", attempt, model, failure.noted(shards[0], model, now=now))
            failing.add(model)
    return failing


def _shards_of(run: RunFolder, attempt: int) -> list[ShardFolder]:
    """Every shard of the attempt that was ever begun. A shard that was split stands for its halves."""
    retry = read_retry(run, attempt)
    halves = {half.shard_id for split in splits_of(run, attempt).values() for half in split.halves}
    halves -= {shard.shard_id for shard in retry.shards} if retry is not None else set()
    names = set(fresh_names(run.attempt(attempt) / "shards")) - halves
    return [run.shard(name, attempt=attempt) for name in sorted(names)]


def _kept(run: RunFolder, plan: Plan, attempt: int, old: RetryPlan | None) -> list[RetryShard]:
    """The shards of the attempt that were sent: they stay, whether an earlier build lists them or not."""
    planned = {shard.shard_id: shard for shard in old.shards} if old else {}
    sent = [shard for shard in _shards_of(run, attempt) if is_sent(shard)]
    return [planned.get(shard.shard_id) or _unplanned(run, plan, shard) for shard in sent]


def _unplanned(run: RunFolder, plan: Plan, shard: ShardFolder) -> RetryShard:
    """A shard sent by a build that left no plan. Its requests come from the first attempt, as all do."""
    ids = set(request_ids(shard))
    first = [sent for sent in planned_shards(plan) if not ids.isdisjoint(request_ids(sent.folder(run)))]
    if not first:
        raise ConfigError(f"{shard}: was sent, but no shard of the plan has its requests; clear build_requests first")
    origins = tuple(sent.shard_id for sent in first)
    return RetryShard(shard.shard_id, first[0].model, len(ids), shard.requests.stat().st_size, origins)


def _over_budget(
    job: BatchJob,
    run: RunFolder,
    plan: Plan,
    attempt: int,
    *,
    kept: Iterable[RetryShard],
    prices: Prices,
    failing: Collection[str],
) -> OverBudget | None:
    if job.budget is None or job.budget.max_cost is None:
        return None
    again: Counter[str] = Counter()
    for sent in sent_shards(run, plan, attempt - 1):
        again[sent.model] += sent.model not in failing and len(_worth_retrying(sent.folder(run)))
    for shard in kept:
        again[shard.model] -= shard.requests
    again = +again
    if not again:
        return None
    requested = (sent for number in range(FIRST_ATTEMPT, attempt + 1) for sent in sent_shards(run, plan, number))
    stop = over_budget(job.budget.max_cost, run, plan, requested, again, prices=prices)
    if stop is not None:
        log.warning("Attempt %d is not sent: %s", attempt, stop)
    return stop


def _worth_retrying(shard: ShardFolder) -> set[str]:
    """The ids that the shard's results mark so."""
    if not shard.results.exists():
        return set()
    results = read_staged(shard.results, ["custom_id", "ask_again"])
    return set(results.filter(results["ask_again"])["custom_id"].to_pylist())


@dataclass(kw_only=True)
class _RetryWriter:
    """Cuts lines into the shards of an attempt, one file open a model. Holds some hundred lines."""

    run: RunFolder
    attempt: int
    work: Path
    limits: ShardLimits
    explains: bool
    open: dict[str, tuple[ShardFile, set[str]]] = field(default_factory=dict)
    opened: int = 0
    made: list[RetryShard] = field(default_factory=list)

    def add(self, sent: SentShard, ids: set[str]) -> None:
        """The lines of a shard that have these ids, each with an explanation if there is something to explain."""
        shard, plain = sent.folder(self.run), set(ids)
        for some in explanations(shard, ids) if self.explains else ():
            plain.difference_update(some)
            self._take(sent, self._explained(_lines(shard, some), some))
        if plain:
            self._take(sent, _lines(shard, plain))

    def _explained(self, lines: Iterable[bytes], said: Mapping[str, Explanation]) -> Iterator[bytes]:
        for line in lines:
            longer = explained(line, said[id_of_line(line)])
            # A line that fits no file is sent unchanged: better without the explanation than not at all.
            yield longer if len(longer) <= self.limits.max_bytes else line

    def _take(self, sent: SentShard, left: Iterator[bytes]) -> None:
        while lines := list(itertools.islice(left, _LINES_TOGETHER)):
            while lines:
                file, origins = self._file_for(sent.model)
                taken = file.take(lines)
                if taken:
                    origins.update(sent.origins)
                if taken < len(lines):
                    self._land(sent.model)
                lines = lines[taken:]

    def close(self) -> list[RetryShard]:
        """Write out the open shards; returns all shards that were made."""
        for model in list(self.open):
            self._land(model)
        return self.made

    def _file_for(self, model: str) -> tuple[ShardFile, set[str]]:
        if model not in self.open:
            self.opened += 1
            self.open[model] = (ShardFile(self.work / f"{self.opened:06}.jsonl", self.limits), set())
        return self.open[model]

    def _land(self, model: str) -> None:
        file, origins = self.open.pop(model)
        file.close()
        shard = self.run.shard(file.shard_id, attempt=self.attempt)
        land(file.path, shard.requests)
        self.made.append(RetryShard(file.shard_id, model, file.requests, file.bytes, tuple(sorted(origins))))


def _lines(shard: ShardFolder, ids: Collection[str]) -> Iterator[bytes]:
    return (line + b"\n" for line in lines_of(shard) if id_of_line(line) in ids)


def _withdraw_others(run: RunFolder, retry: RetryPlan, *, turn: int, now: float) -> bool:
    """Withdraw shards of earlier builds that this one does not have; False if one of them is being sent after all."""
    planned = {shard.shard_id for shard in retry.shards}
    others = [shard for shard in _shards_of(run, retry.attempt) if shard.shard_id not in planned]
    return all(withdraw(shard, now=now, turn=turn) for shard in others)
