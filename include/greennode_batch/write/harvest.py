"""Harvest: what an earlier run of the same id has sent is ended, and its answers are written where they are looked up.

Airflow has that run no more, so nobody else does. Its folder stays as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.staging.folders import RunFolder, ShardFolder
from greennode_batch.state.attempts import all_sent
from greennode_batch.state.plan import Plan, read_plan
from greennode_batch.state.receipts import is_sent, read_receipt
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import OpenTarget, write_shard

log = logging.getLogger(__name__)


@dataclass
class Harvest:
    """What became of it. rows: written into the targets now; failed: why a shard's answers are not, by its id."""

    run: RunFolder
    sent: int = 0
    cancelled: int = 0
    rows: int = 0
    failed: dict[str, GreenNodeError] = field(default_factory=dict)

    @property
    def is_retryable(self) -> bool:
        """Whether another try may bring more."""
        return any(error.is_retryable for error in self.failed.values())

    def __str__(self) -> str:
        failed = f"; shards whose answers were not: {', '.join(self.failed)}" if self.failed else ""
        return (
            f"An earlier run of this id, which Airflow has no more, had sent {self.sent:,} shards. Batches that were "
            f"cancelled now: {self.cancelled:,}; rows that were written into targets now: {self.rows:,}{failed}. All "
            f"that it fetched stays in {self.run}"
        )


def harvest(
    run: RunFolder,
    client: GreenNodeClient,
    job: BatchJob,
    targets: Sequence[OpenTarget],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Harvest:
    """Cancel what is open of a run, collect all that it has, and write into the targets what is not written yet.

    Safe to call again after any end: what is done is not done again. Raises nothing for a shard that fails.
    """
    done = Harvest(run)
    plan = read_plan(run)
    if plan is None:
        return done
    for one in all_sent(run, plan):
        shard = one.folder(run)
        if not is_sent(shard):
            continue
        done.sent += 1
        try:
            done.cancelled += _collect(shard, client, job, clock=clock, sleep=sleep)
        except GreenNodeError as error:
            _note(done, shard, error)
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        if not targets or shard.joined.exists() or not shard.results.exists():
            continue
        try:
            done.rows += _write(shard, job, targets, plan)
        except GreenNodeError as error:
            _note(done, shard, error)
    return done


def _collect(
    shard: ShardFolder,
    client: GreenNodeClient,
    job: BatchJob,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> bool:
    """Have the shard's results in staging; whether its batch was cancelled for that."""
    receipt = read_receipt(shard)
    if receipt is None or receipt.batch_id is None:
        raise ConfigError(f"shard {shard.shard_id}: it is not known whether its batch was created; see the console")
    if receipt.server not in {"", client.host}:
        raise ConfigError(f"shard {shard.shard_id} was sent to {receipt.server}, and the connection is {client.host}")
    is_open = receipt.state != "collected" and not client.get_batch(receipt.batch_id).status.is_terminal
    if is_open:
        client.cancel_batch(receipt.batch_id)
    collect_shard(shard, client, job.answer, clock=clock, sleep=sleep)
    return is_open


def _write(shard: ShardFolder, job: BatchJob, targets: Sequence[OpenTarget], plan: Plan) -> int:
    with join_shard(
        shard,
        owner=plan.owner,
        answer_fields=AnswerReader(job.answer).fields,
        keep_reasoning=job.keep_reasoning,
        final=FinalOutcomes(shard.run, plan),
    ) as joined:
        return write_shard(shard, joined, targets, key=job.target_key).rows


def _note(done: Harvest, shard: ShardFolder, error: GreenNodeError) -> None:
    log.warning("Answers of shard %s of an earlier run of this id are not used: %s", shard.shard_id, error)
    done.failed[shard.shard_id] = error
