"""The whole path in one process, with no Airflow: the same steps, and it goes on where it was stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling import Done, next_step
from greennode_batch.build.plan import Plan, build, read_plan
from greennode_batch.build.source import Rows
from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.batch_files import collect_shard, is_read, look_at
from greennode_batch.errors import RetryableError
from greennode_batch.job import BatchJob
from greennode_batch.join.join import join_shard
from greennode_batch.preflight import check_models, try_canaries
from greennode_batch.receipts import Receipt
from greennode_batch.report import RunReport, note_joined, report
from greennode_batch.spend import Prices, estimate
from greennode_batch.staging import RunFolder, ShardFolder
from greennode_batch.submit import submit

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 26 * 3600.0
"""How long a batch is waited for: the API's window of 24 hours, and two more for it to say how it ended."""


def run_to_file(
    job: BatchJob,
    rows: Callable[[], Rows],
    client: GreenNodeClient,
    run: RunFolder,
    out: Path,
    *,
    run_id: str,
    prices: Prices | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RunReport:
    """Build, submit, wait, collect, join into one Parquet file, report. Start it again after any end.

    rows: opens the source; called only if the run is not built yet. Raises RetryableError if a batch has not
    ended by the deadline: nothing is lost, and the next start waits on.
    """
    plan = read_plan(run)
    if plan is None:
        check_models(client, job.models)
        plan = build(job, rows(), run, run_id=run_id, profile=client.profile)
        log.info("Built %s", plan)
        log.info("%s", estimate(plan.prompt_tokens, plan.requests_by_model, job.max_tokens, prices or Prices({})))
    else:
        log.info("Going on with the run that was built before: %s", plan)
    try_canaries(run, plan, client, AnswerReader(job.answer), count=job.canary)
    shards = [run.shard(planned.shard_id) for planned in plan.shards if planned.requests]
    waiting = {
        shard: submit(shard, client, on_ambiguous=job.on_ambiguous, clock=clock, sleep=sleep) for shard in shards
    }
    _collect_as_they_end(waiting, client, job, clock, sleep)
    written = _write_file(job, plan, run, out)
    return report(run, target_rows=written, missing_keys=list)


def _collect_as_they_end(
    waiting: dict[ShardFolder, Receipt],
    client: GreenNodeClient,
    job: BatchJob,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    reader = AnswerReader(job.answer)
    pending = {shard: receipt for shard, receipt in waiting.items() if not is_read(shard, reader)}
    while pending:
        pauses = []
        for shard, receipt in list(pending.items()):
            batch = look_at(shard, client, receipt)
            started = receipt.created_at or clock()
            step = next_step(batch, now=clock(), deadline=started + DEADLINE_SECONDS)
            if not isinstance(step, Done):
                log.info("Batch %s: %s, %s", batch.id, batch.raw_status, batch.counts)
                pauses.append(step.seconds)
            elif step.reason == "deadline":
                raise RetryableError(
                    f"batch {batch.id} is still {batch.raw_status} after {DEADLINE_SECONDS / 3600:.0f} h. It was not "
                    "cancelled and nothing is lost: start again to wait on, or cancel it and start again"
                )
            else:
                collect_shard(shard, client, job.answer)
                del pending[shard]
        if pending:
            sleep(min(pauses, default=1.0))


def _write_file(job: BatchJob, plan: Plan, run: RunFolder, out: Path) -> int:
    """Write the joined rows of every shard to one file, whole; how many there are. Holds one shard."""
    fields = AnswerReader(job.answer).fields
    made = out.with_name(f".{out.name}.part")
    made.parent.mkdir(parents=True, exist_ok=True)
    writer: pq.ParquetWriter | None = None
    written = 0
    try:
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            joined = join_shard(shard, run_id=plan.run_id, answer_fields=fields)
            writer = writer or pq.ParquetWriter(made, joined.schema, compression="zstd")
            writer.write_table(joined)
            written += joined.num_rows
            note_joined(shard, joined)
        if writer is not None:
            writer.close()
            made.replace(out)
    finally:
        if writer is not None:
            writer.close()
        made.unlink(missing_ok=True)
    return written
