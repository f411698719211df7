"""The whole path in one process, with no Airflow: the same steps, and it goes on where it was stopped."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.capacity import pause_seconds
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Done
from greennode_batch.batches.submit import Admit, submit
from greennode_batch.batches.wait import poll
from greennode_batch.cleanup.remote_files import remove_remote_files
from greennode_batch.collect.collect import collect_shard, is_read
from greennode_batch.errors import BusyError, RetryableError
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
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.state.attempts import FIRST_ATTEMPT, attempt_shards
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.receipts import is_sent, read_receipt
from greennode_batch.state.run_report import RunReport
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


def run_to_file(
    job: BatchJob,
    rows: Callable[[], Rows],
    client: GreenNodeClient,
    run: RunFolder,
    out: Path | Dataset,
    *,
    run_id: str,
    prices: Prices | None = None,
    admit: Admit | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RunReport:
    """Build, submit, wait, collect, ask again, join into one Parquet file or a dataset, report.

    Asks what the file or the dataset has no good answer of, or all, as the job's `refresh` says. Rows of other runs
    stay there, but for those that this one replaces. Start it again after any end.

    rows: opens the source; called only if the run is not built yet. prices: the job's own by default. admit: where its
    shards wait for their turn. Raises BudgetError for a run that would go over the job's budget, and RetryableError if
    the API could not be used for a quarter of an hour: nothing is lost, and the next start goes on.
    """
    prices = prices or read_prices(job.prices or {})
    plan = read_plan(run)
    target = _target(out)
    if plan is None:
        check_models(client, job.models)
        with file_lookup(target, job.target_key, job_id=job.own_id) as lookups:
            plan = build(
                job,
                rows,
                run,
                run_id=run_id,
                profile=client.profile,
                target_lookups=[lookups],
                prices=prices,
                clock=clock,
            )
        log.info("Built %s", plan)
        if plan.repeat_warning:
            log.warning("%s", plan.repeat_warning)
    else:
        log.info("Going on with the run that was built before: %s", plan)
    reader = AnswerReader(job.answer)
    if isinstance(target, Dataset):
        prepare_targets([target], run, plan, answer_fields=reader.fields)
    elif plan.shards:
        target.check(target_schema(run, plan, reader.fields), job.target_key)
    shards = attempt_shards(run, plan, FIRST_ATTEMPT)
    if not all(map(is_sent, shards)):
        plan = settle_cost(job, run, plan, client, reader, prices=prices)
        log.info("%s", plan.estimate)
    for attempt in range(FIRST_ATTEMPT, job.attempts + 1):
        if attempt > FIRST_ATTEMPT:
            retry = build_retry(job, run, plan, attempt=attempt, profile=client.profile, prices=prices, clock=clock)
            shards = attempt_shards(run, plan, attempt)
            log.info("Attempt %d asks %d requests again", attempt, retry.requests)
        _Carrier(job=job, client=client, reader=reader, admit=admit, clock=clock, sleep=sleep).carry(shards)
    made = report(run, _write(job, plan, run, target), prices=prices, clock=clock)
    check_balanced(made)
    log.info("%s", remove_remote_files(run, client, keep=bool(job.keep_remote_files), clock=clock))
    return made


def is_there(out: Path | Dataset) -> bool:
    """Whether there is a file, or any file of the dataset."""
    return bool(_target(out).all_files())


def _target(out: Path | Dataset) -> AnswerFile | Dataset:
    return out if isinstance(out, Dataset) else AnswerFile(out)


@dataclass(kw_only=True)
class _Carrier:
    """Takes shards to their results: each is submitted, looked at and collected when its time comes."""

    job: BatchJob
    client: GreenNodeClient
    reader: AnswerReader
    admit: Admit | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    failing_since: dict[str, float] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)

    def carry(self, shards: Sequence[ShardFolder]) -> None:
        """Go on until all of them are collected."""
        due = [(0.0, index) for index in range(len(shards))]
        while due:
            at, index = heapq.heappop(due)
            if (left := at - self.clock()) > 0:
                self.sleep(left)
            pause = self._step(shards[index])
            if pause is not None:
                heapq.heappush(due, (self.clock() + pause, index))
            elif self.admit is not None:
                # There is room for the first that waits in line.
                first = min((index for _, index in due if shards[index].shard_id in self.busy), default=None)
                due = [(0.0 if index == first else at, index) for at, index in due]
                heapq.heapify(due)

    def _step(self, shard: ShardFolder) -> float | None:
        """Do what is next for a shard; seconds until it should be done again, None where it is collected."""
        if is_read(shard, self.reader):
            return None
        try:
            pause = self._advance(shard)
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
        if receipt is None or receipt.batch_id is None:
            submit(
                shard,
                self.client,
                on_ambiguous=self.job.on_ambiguous,
                admit=self.admit,
                clock=self.clock,
                sleep=self.sleep,
            )
        step = poll(shard, self.client, now=self.clock(), deadline_seconds=self.job.deadline_seconds)
        if not isinstance(step, Done):
            return step.seconds
        collect_shard(shard, self.client, self.job.answer, clock=self.clock, sleep=self.sleep)
        return None


def _write(job: BatchJob, plan: Plan, run: RunFolder, out: AnswerFile | Dataset) -> WrittenRows:
    """Write the joined rows; what the target holds of them."""
    if isinstance(out, AnswerFile):
        _write_file(job, plan, run, out)
        return FileRows(out, plan.run_id)
    for shard, joined in _joined(job, plan, run):
        write_shard(shard, joined, [out], key=job.target_key)
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


def _write_file(job: BatchJob, plan: Plan, run: RunFolder, out: AnswerFile) -> None:
    """Write the joined rows of every shard to one file, beside those of other runs, whole."""
    made = out.path.with_name(f".{out.path.name}.part")
    made.parent.mkdir(parents=True, exist_ok=True)
    writer: pq.ParquetWriter | None = None
    try:
        for shard, joined in _joined(job, plan, run):
            writer = writer or pq.ParquetWriter(made, joined.schema, compression="zstd")
            counted = CountedRows(joined, job.target_key)
            for rows in counted:
                writer.write_table(rows)
            note_joined(shard, counted)
        if writer is not None:
            writer.close()
            out.merge(made, target_key(run, plan), run_id=plan.run_id)
    finally:
        if writer is not None:
            writer.close()
        made.unlink(missing_ok=True)
