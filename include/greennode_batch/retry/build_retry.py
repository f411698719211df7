"""Retry: the requests of an attempt that are worth asking again become the shards of the next one.

A request keeps its line, byte for byte, and with it its `custom_id`. Where a job explains errors, one whose answer did
not fit gets the explanation appended to its messages. It keeps its `custom_id`, by which its rows are known: so that is
the hash of what was asked first, no longer of its line. What has an answer, or a failure that would only come again, is
never part of it.
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
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import Prices, read_prices
from greennode_batch.plan.shard_file import ShardFile, ShardLimits, shard_limits
from greennode_batch.request.request_lines import id_of_line, lines_of, request_ids
from greennode_batch.retry.explanations import Explanation, explained, explanations
from greennode_batch.retry.retry_budget import over_budget
from greennode_batch.staging.folders import RunFolder, ShardFolder, land, work_folder, write_json
from greennode_batch.staging.parquet import read_staged
from greennode_batch.state.attempts import (
    FIRST_ATTEMPT,
    OverBudget,
    RetryPlan,
    RetryShard,
    SentShard,
    read_retry,
    sent_shards,
)
from greennode_batch.state.plan import Plan
from greennode_batch.state.receipts import is_sent, reopen, withdraw

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

    Holds the ids of one shard, and some megabytes of explanations. Safe to call again, also once more of those results
    are there: what is sent already stays as it is, and only the rest is built. A shard without results has nothing to
    ask again yet. Where asking again would go over the job's budget, nothing more is built, and its rows become
    `unsent`. prices: the job's own by default.
    """
    prices = prices or read_prices(job.prices or {})
    old = read_retry(run, attempt)
    while True:
        kept = [shard for shard in old.shards if is_sent(run.shard(shard.shard_id, attempt=attempt))] if old else []
        stop = _over_budget(job, run, plan, attempt, kept=kept, prices=prices)
        with work_folder(run.path) as work:
            writer = _RetryWriter(
                run=run,
                attempt=attempt,
                work=Path(work),
                limits=shard_limits(job, profile),
                explains=job.explain_errors,
                clock=clock,
            )
            for sent in () if stop else sent_shards(run, plan, attempt - 1):
                again = _worth_asking_again(sent.folder(run))
                for earlier in kept if again else ():
                    if not set(sent.origins).isdisjoint(earlier.origins):
                        again.difference_update(request_ids(run.shard(earlier.shard_id, attempt=attempt)))
                if again:
                    writer.add(sent, again)
            made = writer.close()
        retry = RetryPlan(attempt=attempt, created_at=clock(), shards=(*kept, *made), over_budget=stop)
        if _withdraw_others(run, old, retry, now=clock()):
            write_json(run.retry(attempt), retry)
            return retry


def _over_budget(
    job: BatchJob, run: RunFolder, plan: Plan, attempt: int, *, kept: Iterable[RetryShard], prices: Prices
) -> OverBudget | None:
    if job.budget is None or job.budget.max_cost is None:
        return None
    again: Counter[str] = Counter()
    for sent in sent_shards(run, plan, attempt - 1):
        again[sent.model] += len(_worth_asking_again(sent.folder(run)))
    for shard in kept:
        again[shard.model] -= shard.requests
    again = +again
    if not again:
        return None
    asked = (sent for number in range(FIRST_ATTEMPT, attempt + 1) for sent in sent_shards(run, plan, number))
    stop = over_budget(job.budget.max_cost, run, plan, asked, again, prices=prices)
    if stop is not None:
        log.warning("Attempt %d is not sent: %s", attempt, stop)
    return stop


def _worth_asking_again(shard: ShardFolder) -> set[str]:
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
    clock: Callable[[], float]
    open: dict[str, tuple[ShardFile, set[str]]] = field(default_factory=dict)
    opened: int = 0
    made: list[RetryShard] = field(default_factory=list)

    def add(self, sent: SentShard, ids: set[str]) -> None:
        """The lines of a shard that have these ids, with an explanation where there is something to explain."""
        shard, plain = sent.folder(self.run), set(ids)
        for some in explanations(shard, ids) if self.explains else ():
            plain.difference_update(some)
            self._take(sent, self._explained(_lines(shard, some), some))
        if plain:
            self._take(sent, _lines(shard, plain))

    def _explained(self, lines: Iterable[bytes], said: Mapping[str, Explanation]) -> Iterator[bytes]:
        for line in lines:
            longer = explained(line, said[id_of_line(line)])
            # What fits no file goes as it was: asked without a word is better than not asked.
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
        """Land what is open; all shards that were made."""
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
        reopen(shard, now=self.clock())
        self.made.append(RetryShard(file.shard_id, model, file.requests, file.bytes, tuple(sorted(origins))))


def _lines(shard: ShardFolder, ids: Collection[str]) -> Iterator[bytes]:
    return (line + b"\n" for line in lines_of(shard) if id_of_line(line) in ids)


def _withdraw_others(run: RunFolder, old: RetryPlan | None, retry: RetryPlan, *, now: float) -> bool:
    """Take back what an earlier build has made and this one has not; False if one of them is being sent after all."""
    planned = {shard.shard_id for shard in retry.shards}
    return all(
        withdraw(run.shard(shard.shard_id, attempt=retry.attempt), now=now)
        for shard in (old.shards if old else ())
        if shard.shard_id not in planned
    )
