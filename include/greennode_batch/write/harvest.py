"""Harvest: collect what an earlier run of the same id has sent, and write its answers into the targets.

That run was deleted in Airflow, so no task of it will do so. Its open batches are cancelled first. Its folder stays as
it is.
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
from greennode_batch.state.split import parts_of
from greennode_batch.wording import counted
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import OpenTarget, write_shard

log = logging.getLogger(__name__)


@dataclass
class Harvest:
    """What a harvest did."""

    run: RunFolder
    sent: int = 0
    """The shards that the earlier run had sent."""
    cancelled: int = 0
    """The open batches that were cancelled."""
    rows: int = 0
    """The rows that were written into the targets."""
    failed: dict[str, GreenNodeError] = field(default_factory=dict)
    """The shards whose answers could not be used, and why, by shard id."""

    @property
    def is_retryable(self) -> bool:
        """Whether another harvest may succeed where this one failed."""
        return any(error.is_retryable for error in self.failed.values())

    def __str__(self) -> str:
        failed = f"; could not use the answers of shards {', '.join(self.failed)}" if self.failed else ""
        return (
            f"An earlier run of this id, deleted in Airflow, had sent {counted(self.sent, 'shard')}: cancelled "
            f"{counted(self.cancelled, 'open batch', 'open batches')}, wrote {counted(self.rows, 'row')} into the "
            f"targets{failed}. Its downloads stay in {self.run}"
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
    """Cancel a run's open batches, collect all its results, and write those that are not written yet.

    You can call it again after a failure: finished work is not repeated. A shard that fails raises no error; it is
    listed in `failed`.
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
        if not targets or shard.joined.exists() or not any(part.results.exists() for part in parts_of(shard)):
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
    """Collect the shard's results into staging. Returns whether its batch was cancelled first."""
    receipt = read_receipt(shard)
    if receipt is None or not receipt.is_through:
        raise ConfigError(
            f"shard {shard.shard_id}: its batch may or may not exist; look for it in the GreenNode console"
        )
    if receipt.server not in {"", client.host}:
        raise ConfigError(
            f"shard {shard.shard_id} was sent to {receipt.server}, but the connection leads to {client.host}"
        )
    is_open = (
        receipt.batch_id is not None
        and receipt.state != "collected"
        and not client.get_batch(receipt.batch_id).status.is_terminal
    )
    if is_open and receipt.batch_id is not None:
        client.cancel_batch(receipt.batch_id)
    collect_shard(shard, client, job.answer, min_read_ratio=job.min_read_ratio, clock=clock, sleep=sleep)
    return is_open


def _write(shard: ShardFolder, job: BatchJob, targets: Sequence[OpenTarget], plan: Plan) -> int:
    with join_shard(
        shard,
        owner=plan.owner,
        answer_fields=AnswerReader(job.answer).fields,
        keep_reasoning=job.keep_reasoning,
        final=FinalOutcomes(shard.run, plan),
        in_part=True,
    ) as joined:
        return write_shard(shard, joined, targets, key=job.target_key).rows


def _note(done: Harvest, shard: ShardFolder, error: GreenNodeError) -> None:
    log.warning("Could not use the answers of shard %s, of an earlier run with this id: %s", shard.shard_id, error)
    done.failed[shard.shard_id] = error
