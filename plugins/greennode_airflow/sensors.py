"""GreenNodeBatchSensor: polls a batch, or those of several shards, once, then waits in the triggerer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, NoReturn

from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowException

from greennode_airflow.failures import ShardFailures, fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.links import SHARD_LINKS
from greennode_airflow.observability.metric_events import count_end
from greennode_airflow.observability.shard_state import note_shards
from greennode_airflow.runtime.runs import run_job
from greennode_airflow.runtime.shard_groups import Shards, name_of, shards_to_send
from greennode_airflow.runtime.shard_steps import ShardSteps, is_time, missing_in
from greennode_airflow.triggers import GreenNodeBatchTrigger
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import DEADLINE_SECONDS, Done, next_step
from greennode_batch.api.wire import BatchStatus
from greennode_batch.errors import ConfigError, NotFoundError, RetryableError
from greennode_batch.job.batch_job import BatchJob

_COMPLETED = (BatchStatus.COMPLETED.name,)
# A shard's batch is collected whatever its end.
_ENDS = tuple(status.name for status in BatchStatus if status.is_terminal)

_Result = dict[str, str] | list[dict[str, str]]


class GreenNodeBatchSensor(BaseSensorOperator):
    """Waits until a batch has ended, without a worker slot. Returns its id, its status and why the wait is over.

    Give one of these, both templated: batch_id, of any batch; or shard, the folder of a submitted shard (the pipeline
    does). A shard is followed to any end: at its deadline its batch is cancelled, so that finished answers can be
    collected; one that the server refused for lack of capacity is sent again later; one that the server has forgotten
    is over. For a batch_id, an end other than completed, and the deadline, fail the task.

    shard may be a list of folders, or a shard that was split because it is larger than the server's limit on enqueued
    tokens: then the task waits until the batches of all are over, and returns a list of such results. If it cannot wait
    for some, it fails once the others are over, and still has its result.

    deadline: how long after its creation to wait; longer than the API's window of 24 hours. on_kill: `cancel` ends
    the remote batch when a person marks the waiting task as failed or as success, `leave` lets it run.
    on_ambiguous: as for submit, if a shard is sent again. job: whose run the shard is of; its `live` may end a wait
    earlier.
    """

    template_fields: Sequence[str] = ("batch_id", "shard", "greennode_conn_id")
    operator_extra_links = SHARD_LINKS

    def __init__(
        self,
        *,
        batch_id: str | None = None,
        shard: Shards | None = None,
        greennode_conn_id: str = GreenNodeHook.default_conn_name,
        deadline: timedelta = timedelta(seconds=DEADLINE_SECONDS),
        on_kill: Literal["cancel", "leave"] = "cancel",
        on_ambiguous: Literal["fail", "resubmit"] = "fail",
        job: BatchJob | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (batch_id is None) == (shard is None):
            raise ConfigError(f"task {self.task_id}: give either batch_id= or shard=")
        self.batch_id = batch_id
        self.shard = shard
        self.greennode_conn_id = greennode_conn_id
        self.deadline = deadline
        self.when_killed = on_kill
        self.on_ambiguous = on_ambiguous
        self.job = job
        self._stop: threading.Event | None = None

    def on_kill(self) -> None:
        """Save what live answers have come, and stop."""
        if self._stop is not None:
            self._stop.set()

    @property
    def shard_name(self) -> str:
        """What Airflow's pages call it: see SHARD_NAME."""
        return name_of(self.shard or ())

    @fail_without_retry
    def execute(self, context: Context) -> _Result:
        """Poll once; defer if a batch still runs."""
        if self.shard is not None:
            note_shards(context, shards_to_send(self.shard))
            return self._follow(context)
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            return self._poll(client)

    @fail_without_retry
    def resume(self, context: Context, event: dict[str, Any]) -> _Result:
        """Continue after the trigger fired: for shards, by polling them here."""
        if not isinstance(event, dict):
            # dag.test() resumes also what the trigger has ended as a success, and hands on nothing but that word.
            return self.execute(context)
        missing = missing_in(event)
        if self.shard is not None:
            return self._follow(context, missing_since=missing)
        if event.get("batch_id") != self.batch_id:
            raise AirflowException(f"an event that is not of batch {self.batch_id}: {event}")
        return self._settle(Done(event["reason"], event["status"]))

    @fail_without_retry
    def send_again(self, context: Context, event: Any = None) -> _Result:
        """Submit once more what the server had no capacity for, unless another batch has called for a worker before."""
        assert self.shard is not None
        if not is_time(event):
            return self.resume(context, event)
        try:
            return self._follow(context, sends_again=True)
        finally:
            note_shards(context, shards_to_send(self.shard))

    def _follow(
        self,
        context: Context,
        *,
        missing_since: Mapping[str, float | None] | None = None,
        sends_again: bool = False,
    ) -> _Result:
        """What is next for the batches of the shards."""
        assert self.shard is not None
        hook, shards = GreenNodeHook(self.greennode_conn_id), shards_to_send(self.shard)
        # A single shard that was split has several batches.
        failures, is_one = ShardFailures(len(shards)), isinstance(self.shard, str) and len(shards) == 1
        # Not before it runs: an operator is copied, which an event is not.
        self._stop = threading.Event()
        with hook.get_conn() as client:
            steps = ShardSteps(
                hook=hook,
                client=client,
                dag_id=self.dag_id,
                job=None if self.job is None else run_job(self.job, context),
                on_ambiguous=self.on_ambiguous,
                on_kill=self.when_killed,
                deadline_seconds=self.deadline.total_seconds(),
                stop=self._stop,
            )
            polled = steps.poll(
                shards, failures, now=time.time(), missing_since=missing_since or {}, sends_again=sends_again
            )
        # What the trigger saw must not hide what a worker has to write down, or what became of other shards.
        is_plain = len(polled.open) == len(shards) and all(one.missing_since is None for one in polled.open)
        waits = polled.next_trigger(succeeds_on=_ENDS if is_plain and not self._needs_worker else (), is_one=is_one)
        if waits is not None:
            self.defer(trigger=waits.trigger, method_name=waits.method_name)
        results = polled.results()
        if failures and results:
            # A task that fails has no result, and by this one what is over is collected.
            context["ti"].xcom_push(key="return_value", value=results)
        failures.raise_all()
        return results[0] if is_one else results

    def _poll(self, client: GreenNodeClient) -> _Result:
        """What is next for a batch that is no shard's."""
        batch_id = self.batch_id or ""
        now = time.time()
        try:
            batch = client.get_batch(batch_id)
        except (NotFoundError, RetryableError) as error:
            self.log.warning("%s. The triggerer polls again", error)
            self._defer_to_trigger(batch_id, now + self.deadline.total_seconds())
        deadline = min(batch.created_at or now, now) + self.deadline.total_seconds()
        self.log.info("Batch %s: %s, %s", batch.id, batch.raw_status, batch.counts)
        step = next_step(batch, now=now, deadline=deadline)
        if isinstance(step, Done):
            return self._settle(step, batch.created_at)
        self._defer_to_trigger(batch_id, deadline)

    def _defer_to_trigger(self, batch_id: str, deadline: float) -> NoReturn:
        trigger = GreenNodeBatchTrigger(
            self.greennode_conn_id,
            batch_id,
            deadline,
            self.when_killed,
            succeeds_on=() if self._needs_worker else _COMPLETED,
        )
        self.defer(trigger=trigger, method_name="resume")

    @property
    def _needs_worker(self) -> bool:
        """What Airflow does for a task at its end on a worker, it does not where the triggerer ends it."""
        return bool(self.outlets or self.on_success_callback or self._post_execute_hook is not None)

    def _settle(self, done: Done, created_at: float | None = None) -> _Result:
        batch_id, reason, status = self.batch_id or "", done.reason, done.status
        self._count_end(done, created_at)
        if reason == "deadline":
            raise AirflowException(
                f"batch {batch_id} is still {status} {self.deadline} after it was created; it was not cancelled. "
                "Nothing is lost: clear this task to poll again, or cancel the batch at GreenNode, then clear"
            )
        if reason != "ended" or status != BatchStatus.COMPLETED.name:
            raise AirflowException(f"batch {batch_id} ended as {status}" if reason == "ended" else _WORDS[reason])
        self.log.info("Batch %s ended: %s", batch_id, status)
        return {"batch_id": batch_id, "status": status, "reason": reason}

    def _count_end(self, done: Done, created_at: float | None) -> None:
        count_end(done, dag_id=self.dag_id, conn_id=self.greennode_conn_id, created_at=created_at)


_WORDS = {
    "forgotten": "the server has not found this batch for half an hour; does it belong to another account or base URL?",
    "refused": "for half an hour the API has refused all polls of this batch; the trigger's log says why",
}
