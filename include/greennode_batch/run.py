"""The whole path in one process, without Airflow: the same steps; a stopped run continues where it was."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.capacity import pause_seconds
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Done
from greennode_batch.batches.live_choice import goes_live, schedule_of
from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.batches.live_shard import Share, answer_live
from greennode_batch.batches.submit import Admit, submit
from greennode_batch.batches.wait import Schedule, poll
from greennode_batch.cleanup.remote_files import remove_remote_files
from greennode_batch.collect.collect import collect_shard, is_read
from greennode_batch.collect.pilot import open_pilot, refuse_unsettled
from greennode_batch.errors import BusyError, RetryableError, SplitError, SystematicFailureError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import Prices, read_prices
from greennode_batch.plan.build import build
from greennode_batch.plan.preflight import check_models, settle_cost
from greennode_batch.reconcile.differences import target_key
from greennode_batch.reconcile.report import check_balanced, report
from greennode_batch.reconcile.written import WrittenRows
from greennode_batch.reconcile.written_files import FileRows
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.source.rows import RowBatch, Rows
from greennode_batch.spans import WRITE
from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, attempt_shards, sent_shards
from greennode_batch.state.confirmed_profile import was_read_before
from greennode_batch.state.enqueued_limit import EnqueuedLimits
from greennode_batch.state.plan import PILOT_REQUESTS, Plan, read_plan
from greennode_batch.state.receipts import is_sent, read_receipt
from greennode_batch.state.run_report import RunReport
from greennode_batch.state.split import half_of, parts_of
from greennode_batch.wording import counted
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.file_lookup import file_lookup
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import JoinedRows, join_shard
from greennode_batch.write.joined_rows import CountedRows, note_joined
from greennode_batch.write.target_writer import prepare_targets, target_schema, write_shard

log = logging.getLogger(__name__)

_OUTAGE_SECONDS = 900.0
_AGAIN_SECONDS = 15.0

Progress = Callable[[str, int, int | None], None]
"""Receives a step's name, how much of it is done, and the total; None if the total is unknown."""


def unseen(step: str, done: int, total: int | None) -> None:
    """Ignores the progress."""


def run_to_file(
    job: BatchJob,
    rows: Callable[[], Rows],
    client: GreenNodeClient,
    run: RunFolder,
    out: Path | AnswerFile | Dataset,
    *,
    run_id: str,
    prices: Prices | None = None,
    admit: Admit | None = None,
    enqueued: EnqueuedLimits | None = None,
    limits: LiveLimits | None = None,
    share: Share | None = None,
    stop: threading.Event | None = None,
    progress: Progress = unseen,
    pilot_requests: int = PILOT_REQUESTS,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RunReport:
    """Build, submit, wait, collect, retry, join into one file or a dataset, report.

    Sends the rows that have no good answer in the file or dataset, or all rows, as the job's `refresh` says. Rows of
    other runs stay there, unless this run replaces them. Start it again after any end.

    out: a path is a Parquet file's. rows: opens the source; called only if the run is not built yet. prices: the job's
    by default. admit: the queue in which its shards wait. enqueued: the limits on enqueued tokens that the connection
    has learned. limits: of live answers; share: the workers that share them; stop: ends them within a second, from
    another thread. progress: receives how far the run is. pilot_requests: how many requests are sent before all others
    if no results of this host and profile were read before; 0 sends the whole table at once. Raises BudgetError for a
    run that would exceed the job's budget, and RetryableError if the API could not be used for a quarter of an hour:
    nothing is lost, and the next start continues. Raises UnreadResultsError and SystematicFailureError as
    `collect_shard` does.
    """
    prices = prices or read_prices(job.prices or {})
    plan, is_live_only = read_plan(run), job.live is not None and job.live.only
    target = AnswerFile(out) if isinstance(out, Path) else out
    if plan is None:
        check_models(client, job.models)
        with file_lookup(target, job.target_key, job_id=job.own_id) as lookups:
            plan = build(
                job,
                lambda: watched(rows(), progress),
                run,
                run_id=run_id,
                profile=client.profile,
                target_lookups=[lookups],
                prices=prices,
                pilot_requests=0 if is_live_only or _is_known(run, client, clock()) else pilot_requests,
                max_shard_tokens=enqueued.named(now=clock()) if enqueued is not None and not is_live_only else None,
                clock=clock,
            )
        log.info("Built %s", plan)
        if plan.repeat_warning:
            log.warning("%s", plan.repeat_warning)
    else:
        log.info("Continuing the run that was built before: %s", plan)
    reader = AnswerReader(job.answer)
    if isinstance(target, Dataset):
        plan = prepare_targets([target], run, plan, answer_fields=reader.fields)
    elif plan.shards:
        target.check(target_schema(run, plan, reader.fields), job.target_key)
    shards = attempt_shards(run, plan, FIRST_ATTEMPT)
    if not all(map(is_sent, shards)):
        plan = settle_cost(job, run, plan, client, reader, prices=prices)
        log.info("%s", plan.estimate)
    carrier = _Carrier(
        job=job,
        client=client,
        reader=reader,
        admit=admit,
        enqueued=enqueued,
        limits=limits or LiveLimits(),
        share=share,
        stop=stop,
        clock=clock,
        sleep=sleep,
    )
    _carry_attempts(carrier, run, plan, prices=prices, progress=progress)
    made = report(run, _write(job, plan, run, target, progress), prices=prices, clock=clock)
    check_balanced(made)
    log.info("%s", remove_remote_files(run, client, keep=bool(job.keep_remote_files), clock=clock))
    return made


def watched(rows: Rows, progress: Progress) -> Rows:
    """The same rows; progress receives how many were read."""

    def batches() -> Iterator[RowBatch]:
        count = 0
        for batch in rows.batches:
            count += len(batch)
            progress("reading rows", count, None)
            yield batch

    return replace(rows, batches=batches())


def _is_known(run: RunFolder, client: GreenNodeClient, now: float) -> bool:
    return was_read_before(run.path.parent.parent, client.host, client.profile, now=now)


class _Answers:
    """How many requests of an attempt are done, by the batches' counts. requests: of each shard."""

    def __init__(self, requests: Mapping[str, int], attempt: int, progress: Progress) -> None:
        self._requests = dict(requests)
        self._over = dict.fromkeys(requests, 0)
        self._step = "waiting for answers" + (f", attempt {attempt}" if attempt > FIRST_ATTEMPT else "")
        self._progress = progress

    def split(self, shard_id: str, requests: Mapping[str, int]) -> None:
        """Count a shard's parts in its place. requests: of each part."""
        for counts, by_part in ((self._requests, requests), (self._over, dict.fromkeys(requests, 0))):
            counts.pop(shard_id, None)
            counts.update(by_part)

    def seen(self, shard_id: str, over: int | None = None) -> None:
        """Record how many requests of a shard are done; all of them, if no number is given."""
        most = self._requests.get(shard_id, 0)
        self._over[shard_id] = most if over is None else min(over, most)
        self._progress(self._step, sum(self._over.values()), sum(self._requests.values()))


@dataclass(kw_only=True)
class _Carrier:
    """Takes shards to their results: each is submitted, polled and collected when its time comes."""

    job: BatchJob
    client: GreenNodeClient
    reader: AnswerReader
    admit: Admit | None
    enqueued: EnqueuedLimits | None
    limits: LiveLimits
    share: Share | None
    stop: threading.Event | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    failing_since: dict[str, float] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    stopped: SystematicFailureError | None = None
    answers: _Answers = field(init=False)

    def carry(self, shards: Sequence[ShardFolder], answers: _Answers) -> None:
        """Continue until all of them are collected. answers: receives how far they are."""
        self.answers = answers
        shards = list(shards)
        due = [(0.0, index) for index in range(len(shards))]
        while due:
            at, index = heapq.heappop(due)
            if (left := at - self.clock()) > 0:
                self.sleep(left)
            try:
                pause = self._step(shards[index])
            except SplitError as error:
                log.warning("%s", error)
                parts = parts_of(shards[index])
                answers.split(shards[index].shard_id, {part.shard_id: _requests_of(part) for part in parts})
                for part in parts:
                    heapq.heappush(due, (0.0, len(shards)))
                    shards.append(part)
                continue
            if pause is not None:
                heapq.heappush(due, (self.clock() + pause, index))
            elif self.admit is not None:
                # There is room for the first shard in the queue.
                first = min((index for _, index in due if shards[index].shard_id in self.busy), default=None)
                due = [(0.0 if index == first else at, index) for at, index in due]
                heapq.heapify(due)

    def _step(self, shard: ShardFolder) -> float | None:
        """Do the next step of a shard; returns the seconds until the one after, or None if it is collected."""
        if is_read(shard, self.reader):
            self.answers.seen(shard.shard_id)
            return None
        try:
            pause = self._advance(shard)
        except SystematicFailureError as error:
            # Batches of this model that were sent are still written, and so are other models' answers.
            log.error("%s", error)  # noqa: TRY400 - the message says it all
            self.stopped = error
            return None
        except SplitError:
            raise
        except BusyError as error:
            log.warning("%s", error)
            self.busy.add(shard.shard_id)
            return error.retry_after or pause_seconds(1)
        except RetryableError as error:
            since = self.failing_since.setdefault(shard.shard_id, self.clock())
            if self.clock() - since > _OUTAGE_SECONDS:
                raise
            log.warning("%s. Trying again", error)
            return _AGAIN_SECONDS
        self.failing_since.pop(shard.shard_id, None)
        self.busy.discard(shard.shard_id)
        return pause

    def _advance(self, shard: ShardFolder) -> float | None:
        receipt = read_receipt(shard)
        schedule = schedule_of(self.job.live, shard.run, self.limits)
        if receipt is None or not receipt.is_through:
            self._send(shard, schedule)
        step = poll(
            shard,
            self.client,
            now=self.clock(),
            deadline_seconds=self.job.deadline_seconds,
            schedule=schedule,
            seen=lambda batch: self.answers.seen(shard.shard_id, batch.counts.completed + batch.counts.failed),
        )
        if not isinstance(step, Done):
            return step.seconds
        collect_shard(
            shard,
            self.client,
            self.job.answer,
            min_read_ratio=self.job.min_read_ratio,
            systematic_failure_ratio=self.job.systematic_failure_ratio,
            explains_errors=self.job.explain_errors,
            clock=self.clock,
            sleep=self.sleep,
        )
        self.answers.seen(shard.shard_id)
        return None

    def _send(self, shard: ShardFolder, schedule: Schedule) -> None:
        """Make a batch of a shard, or answer it live, as the job says."""
        if goes_live(self.job, shard, limits=self.limits, clock=self.clock):
            answer_live(
                shard,
                self.client,
                limits=self.limits,
                not_after=schedule.finish_by,
                share=self.share,
                stop=self.stop,
                seen=lambda settled: self.answers.seen(shard.shard_id, settled),
                clock=self.clock,
                sleep=self.sleep,
            )
            return
        submit(
            shard,
            self.client,
            on_ambiguous=self.job.on_ambiguous,
            admit=self.admit,
            limits=self.enqueued,
            clock=self.clock,
            sleep=self.sleep,
        )


def _requests_of(part: ShardFolder) -> int:
    half = half_of(part)
    return half.requests if half is not None else 0


def _carry_attempts(carrier: _Carrier, run: RunFolder, plan: Plan, *, prices: Prices, progress: Progress) -> None:
    """Take every attempt of a run to its results: the pilot's first, if the plan has one."""
    job, client = carrier.job, carrier.client

    def carry(attempt: int, only: ShardFolder | None = None) -> list[ShardFolder]:
        if attempt > FIRST_ATTEMPT:
            retry = build_retry(
                job, run, plan, attempt=attempt, profile=client.profile, prices=prices, clock=carrier.clock
            )
            if retry.requests:
                log.info("Attempt %d sends %s again", attempt, counted(retry.requests, "request"))
        shards = attempt_shards(run, plan, attempt) if only is None else [only]
        ids = {shard.shard_id for shard in shards}
        requests = {one.shard_id: one.requests for one in sent_shards(run, plan, attempt) if one.shard_id in ids}
        carrier.carry(shards, _Answers(requests, attempt, progress))
        return shards

    attempts = range(FIRST_ATTEMPT, job.attempts + 1)
    if (pilot := open_pilot(run, plan, client)) is not None:
        log.info("Shard %s goes first, as a pilot: no results of this server were read before", pilot.shard_id)
        for attempt in attempts:
            # If its batch expired, for example, the same few requests are sent again before all others.
            carry(attempt, pilot if attempt == FIRST_ATTEMPT else None)
            if open_pilot(run, plan, client) is None:
                break
        if carrier.clock() < schedule_of(job.live, run, carrier.limits).cancel_at:
            refuse_unsettled(pilot, client)
    for attempt in attempts:
        shards = carry(attempt)
        if carrier.stopped is not None and not all(is_read(shard, carrier.reader) for shard in shards):
            raise carrier.stopped


def _write(job: BatchJob, plan: Plan, run: RunFolder, out: AnswerFile | Dataset, progress: Progress) -> WrittenRows:
    """Write the joined rows; returns what the target holds of them."""
    if isinstance(out, AnswerFile):
        _write_file(job, plan, run, out, progress)
        return FileRows(out, plan.run_id)
    written = 0
    for shard, joined in _joined(job, plan, run):
        written += write_shard(shard, joined, [out], key=job.target_key).rows
        progress("writing rows", written, plan.rows)
    (rows,) = written_rows(run, [out], run_id=plan.run_id)
    return rows


def _joined(job: BatchJob, plan: Plan, run: RunFolder) -> Iterator[tuple[ShardFolder, JoinedRows]]:
    """Each shard, and its source rows with their results."""
    fields, final = AnswerReader(job.answer).fields, FinalOutcomes(run, plan)
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        with join_shard(
            shard, owner=plan.owner, answer_fields=fields, keep_reasoning=job.keep_reasoning, final=final
        ) as joined:
            yield shard, joined


@WRITE.around(lambda _job, plan, *_: {"rows": plan.rows}, lambda _: {})
def _write_file(job: BatchJob, plan: Plan, run: RunFolder, out: AnswerFile, progress: Progress) -> None:
    """Write the joined rows of every shard to one file, beside those of other runs; the file lands complete."""
    made = out.path.with_name(f".{out.path.name}.part")
    made.parent.mkdir(parents=True, exist_ok=True)
    writer: pq.ParquetWriter | None = None
    written = 0
    try:
        for shard, joined in _joined(job, plan, run):
            writer = writer or pq.ParquetWriter(made, joined.schema, compression="zstd")
            joined_rows = CountedRows(joined, job.target_key)
            for rows in joined_rows:
                writer.write_table(rows)
                written += rows.num_rows
                progress("writing rows", written, plan.rows)
            note_joined(shard, joined_rows)
        if writer is not None:
            writer.close()
            out.merge(made, target_key(run, plan), run_id=plan.run_id)
    finally:
        if writer is not None:
            writer.close()
        made.unlink(missing_ok=True)
