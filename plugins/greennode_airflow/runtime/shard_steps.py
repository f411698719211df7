"""Shard steps: a task sends its shards, as batches or live, and polls their batches, one shard after the other.

A failure of one shard does not stop the others: see ShardFailures.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseTrigger

from greennode_airflow.failures import ShardFailures
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.metric_events import count_end, submit_counted
from greennode_airflow.triggers import REASONS, GreenNodeBatchTrigger, GreenNodePauseTrigger, events_of
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import DEADLINE_SECONDS, MIN_POLL_SECONDS, Done, Wait
from greennode_batch.batches.credit import submit_on_credit
from greennode_batch.batches.live_choice import goes_live, schedule_of
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.wait import NO_SCHEDULE, Schedule, SendAgain, deadline_of, poll
from greennode_batch.errors import BusyError, RetryableError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import Receipt, is_live, read_receipt
from greennode_batch.state.split import half_of

log = logging.getLogger(__name__)

# The worker that cancels, collect, build_retry, submit (which answers live), wait, collect, join, report.
_STARTS_AFTER_CANCEL = 8


class Over(NamedTuple):
    """A shard whose wait is over."""

    shard: ShardFolder
    receipt: Receipt
    done: Done


class Trigger(NamedTuple):
    """What a task defers to, and the method that goes on."""

    trigger: BaseTrigger
    method_name: str


@dataclass(frozen=True, kw_only=True)
class ShardSteps:
    """The steps of one task.

    job: None for shards of no job, which go into batches. on_ambiguous, on_kill, deadline_seconds: as the job has them.
    stop: ends live answering within a second.
    """

    hook: GreenNodeHook
    client: GreenNodeClient
    dag_id: str
    job: BatchJob | None = None
    on_ambiguous: Literal["fail", "resubmit"] = "fail"
    on_kill: Literal["cancel", "leave"] = "cancel"
    deadline_seconds: float = DEADLINE_SECONDS
    stop: threading.Event | None = None

    @property
    def conn_id(self) -> str:
        """The connection."""
        return self.hook.greennode_conn_id

    def schedule(self, shard: ShardFolder) -> Schedule:
        """When batches of the shard's run are cancelled, if the run has to finish by a time."""
        if self.job is None or self.job.live is None:
            return NO_SCHEDULE
        return schedule_of(self.job.live, shard.run, self.hook.live_limits(), starts_seconds=self._starts_seconds)

    @property
    def _starts_seconds(self) -> float:
        one: float = conf.getfloat("greennode", "task_start_seconds")
        return _STARTS_AFTER_CANCEL * one

    def send(self, shard: ShardFolder, *, is_cleared: bool) -> str:
        """Send a shard, or find what was sent before; the id of what answers it.

        is_cleared: whether a person, or a retry, has the task run again, so that the credit is tried again. Raises
        BusyError while the server has no capacity, and RetryableError if live answering was stopped.
        """
        limits = self.hook.live_limits()
        with submit_counted(shard, dag_id=self.dag_id, conn_id=self.conn_id):
            # A shard whose answering was begun goes on so, whatever the job says now.
            if is_live(shard) or (
                self.job is not None and goes_live(self.job, shard, limits=limits, starts_seconds=self._starts_seconds)
            ):
                receipt = answer_live(
                    shard,
                    self.client,
                    limits=limits,
                    not_after=self.schedule(shard).finish_by,
                    share=self.hook.live_share() if limits.are_shared else None,
                    stop=self.stop,
                )
            else:
                receipt = submit_on_credit(
                    shard,
                    self.client,
                    is_cleared=is_cleared,
                    on_ambiguous=self.on_ambiguous,
                    admit=self.hook.admit(self.client),
                    limits=self.hook.enqueued_limits(),
                )
        assert receipt.answered_by is not None
        return receipt.answered_by

    def poll(
        self,
        shards: Sequence[ShardFolder],
        failures: ShardFailures,
        *,
        now: float,
        missing_since: Mapping[str, float | None],
        sends_again: bool,
    ) -> Polled:
        """Poll the batch of each shard once.

        sends_again: whether what the server had no capacity for is sent now.
        """
        polled = Polled(self, now)
        for shard in shards:
            with failures.held(shard):
                step = self._step(shard, now, missing_since, sends_again=sends_again)
                receipt = read_receipt(shard)
                if isinstance(step, SendAgain):
                    polled.moments.append(now + step.seconds)
                elif receipt is None or not receipt.is_through:
                    # Another worker has seen since that the server had no capacity for it.
                    polled.moments.append(now + MIN_POLL_SECONDS)
                elif isinstance(step, Done):
                    polled.over.append(Over(shard, receipt, step))
                else:
                    polled.open.append(receipt)
                    polled.deadlines.append(
                        deadline_of(
                            receipt, now=now, deadline_seconds=self.deadline_seconds, schedule=self.schedule(shard)
                        )
                    )
        return polled

    def _step(
        self, shard: ShardFolder, now: float, missing_since: Mapping[str, float | None], *, sends_again: bool
    ) -> Wait | SendAgain | Done:
        receipt = read_receipt(shard)
        batch_id = receipt.batch_id if receipt else None
        if sends_again and _is_to_send_again(shard, receipt):
            try:
                self.send(shard, is_cleared=True)
            except BusyError as error:
                log.warning("%s", error)
                return SendAgain(error.retry_after or 0.0)
        try:
            return poll(
                shard,
                self.client,
                now=now,
                deadline_seconds=self.deadline_seconds,
                schedule=self.schedule(shard),
                missing_since=missing_since.get(batch_id or ""),
            )
        except RetryableError as error:
            log.warning("%s. The triggerer polls again", error)
            return Wait(MIN_POLL_SECONDS)


def _is_to_send_again(shard: ShardFolder, receipt: Receipt | None) -> bool:
    """Whether the server had no capacity for the shard, or it is a half of one that was split since."""
    if receipt is not None and (receipt.is_through or receipt.over_capacity):
        return not receipt.is_through
    return half_of(shard) is not None


@dataclass
class Polled:
    """What one poll of several shards has found."""

    steps: ShardSteps
    now: float
    over: list[Over] = field(default_factory=list)
    open: list[Receipt] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    """When the wait for each of the open ones is over: epoch seconds."""
    moments: list[float] = field(default_factory=list)
    """When to send what is not sent: epoch seconds."""

    def next_trigger(self, *, succeeds_on: Sequence[str] = (), is_one: bool = False) -> Trigger | None:
        """What to wait for without a worker: one trigger for all batches; None if nothing is to be waited for.

        succeeds_on: ends with which the triggerer itself ends the task. is_one: whether the task has a single shard,
        whose event is not a list.
        """
        method_name = "send_again" if self.moments else "resume"
        if self.open:
            steps = self.steps
            batch_ids = [receipt.batch_id or "" for receipt in self.open]
            trigger = GreenNodeBatchTrigger(
                steps.conn_id,
                batch_ids[0] if is_one else batch_ids,
                min([*self.moments, *self.deadlines]),
                steps.on_kill,
                succeeds_on=succeeds_on,
            )
            return Trigger(trigger, method_name)
        if self.moments:
            return Trigger(GreenNodePauseTrigger(min(self.moments)), method_name)
        return None

    def results(self) -> list[dict[str, str]]:
        """What the waits that are over have come to. Each counts in the metrics."""
        return [self._result(one) for one in self.over]

    def _result(self, one: Over) -> dict[str, str]:
        receipt, done = one.receipt, one.done
        answered_by = receipt.answered_by
        assert answered_by is not None, "what is over has a batch, or was answered live"
        if receipt.live is None:
            log.info("The wait for batch %s is over: %s, %s", answered_by, done.reason, done.status)
            count_end(done, dag_id=self.steps.dag_id, conn_id=self.steps.conn_id, created_at=receipt.created_at)
        return {"batch_id": answered_by, "status": done.status, "reason": done.reason}


def missing_in(event: Mapping[str, Any]) -> dict[str, float | None]:
    """Since when the trigger misses a batch, by its id. Raises AirflowException for an event of something else."""
    events = events_of(event)
    reasons = {one.get("reason") for one in events}
    if reasons <= {None} or not reasons <= {None, *REASONS}:
        raise AirflowException(f"an event that is not of a batch: {event}")
    return {str(one.get("batch_id")): one.get("missing_since") for one in events}


def is_time(event: Any) -> bool:
    """Whether it is time to send what is not sent; otherwise a batch has called for a worker before."""
    return not isinstance(event, Mapping) or any(one.get("reason") == "deadline" for one in events_of(event))
