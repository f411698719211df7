"""GreenNodeBatchSensor: looks at a batch once, then waits in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowException

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.observability.links import SHARD_LINKS
from greennode_airflow.observability.metric_events import count_end, submit_counted
from greennode_airflow.observability.shard_state import note_shard
from greennode_airflow.runtime.runs import shard_at
from greennode_airflow.triggers import REASONS, GreenNodeBatchTrigger
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import DEADLINE_SECONDS, MIN_POLL_SECONDS, Done, Wait, next_step
from greennode_batch.api.wire import BatchStatus
from greennode_batch.batches.credit import submit_on_credit
from greennode_batch.batches.wait import SendAgain, deadline_of, look
from greennode_batch.errors import BusyError, ConfigError, NotFoundError, RetryableError
from greennode_batch.state.receipts import read_receipt

_COMPLETED = (BatchStatus.COMPLETED.name,)
# A shard's batch is collected whatever its end.
_ENDS = tuple(status.name for status in BatchStatus if status.is_terminal)


class GreenNodeBatchSensor(BaseSensorOperator):
    """Waits until a batch has ended, without a worker slot. Returns its id, its status and why the wait is over.

    Give one of these, both templated: batch_id, of any batch; or shard, the folder of a shard that was submitted
    (the pipeline does). A shard is taken to whatever end it has: at its deadline its batch is cancelled, so that
    what is finished can be collected; one that the server refused for want of room is sent again, later; one that
    the server has forgotten is over. For a batch_id, an end other than completed, and the deadline, fail the task.

    deadline: how long after its creation to wait; longer than the API's window of 24 hours. on_kill: `cancel` ends
    the remote batch when a person marks the waiting task as failed or as success, `leave` lets it run.
    on_ambiguous: as for submit, where a shard is sent again.
    """

    template_fields: Sequence[str] = ("batch_id", "shard", "greennode_conn_id")
    operator_extra_links = SHARD_LINKS

    def __init__(
        self,
        *,
        batch_id: str | None = None,
        shard: str | None = None,
        greennode_conn_id: str = GreenNodeHook.default_conn_name,
        deadline: timedelta = timedelta(seconds=DEADLINE_SECONDS),
        on_kill: Literal["cancel", "leave"] = "cancel",
        on_ambiguous: Literal["fail", "resubmit"] = "fail",
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

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, str]:
        """Look once; defer if the batch still runs."""
        if self.shard is not None:
            note_shard(context, shard_at(self.shard))
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            return self._look(client) if self.shard is None else self._follow(client)

    @fail_without_retry
    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, str]:
        """Go on after the trigger fired: for a shard, with a look of our own."""
        if not isinstance(event, dict):
            # dag.test() resumes also what the trigger has ended as a success, and hands on nothing but that word.
            return self.execute(context)
        if event.get("reason") not in REASONS:
            raise AirflowException(f"an event that is not of a batch: {event}")
        if self.shard is not None:
            with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
                return self._follow(client, missing_since=event.get("missing_since"))
        if event.get("batch_id") != self.batch_id:
            raise AirflowException(f"an event that is not of batch {self.batch_id}: {event}")
        return self._settle(Done(event["reason"], event["status"]))

    @fail_without_retry
    def send_again(self, context: Context, event: Any = None) -> dict[str, str]:
        """Submit the shard once more, whose batch the server had no room for."""
        assert self.shard is not None
        shard, hook = shard_at(self.shard), GreenNodeHook(self.greennode_conn_id)
        with hook.get_conn() as client:
            try:
                with submit_counted(shard, dag_id=self.dag_id, conn_id=self.greennode_conn_id):
                    submit_on_credit(
                        shard, client, is_cleared=True, on_ambiguous=self.on_ambiguous, admit=hook.admit(client)
                    )
            except BusyError as error:
                self.log.warning("%s", error)
                self._defer_until(time.time() + (error.retry_after or 0.0))
            note_shard(context, shard)
            return self._follow(client)

    def _follow(self, client: GreenNodeClient, *, missing_since: float | None = None) -> dict[str, str]:
        """What is next for the shard's batch."""
        shard = shard_at(self.shard or "")
        now = time.time()
        seconds = self.deadline.total_seconds()
        try:
            step = look(shard, client, now=now, deadline_seconds=seconds, missing_since=missing_since)
        except RetryableError as error:
            self.log.warning("%s. The triggerer looks again", error)
            step = Wait(MIN_POLL_SECONDS)
        if isinstance(step, SendAgain):
            self._defer_until(now + step.seconds)
        receipt = read_receipt(shard)
        assert receipt is not None and receipt.batch_id is not None, "a look finds the receipt"  # noqa: PT018
        if isinstance(step, Done):
            self.log.info("The wait for batch %s is over: %s, %s", receipt.batch_id, step.reason, step.status)
            self._count_end(step, receipt.created_at)
            return {"batch_id": receipt.batch_id, "status": step.status, "reason": step.reason}
        deadline = deadline_of(receipt, now=now, deadline_seconds=seconds)
        # What the trigger saw must not hide what a worker has to write down.
        is_plain = receipt.missing_since is None
        self._defer_to_trigger(receipt.batch_id, deadline, succeeds_on=_ENDS if is_plain else ())

    def _look(self, client: GreenNodeClient) -> dict[str, str]:
        """What is next for a batch that is no shard's."""
        batch_id = self.batch_id or ""
        now = time.time()
        try:
            batch = client.get_batch(batch_id)
        except (NotFoundError, RetryableError) as error:
            self.log.warning("%s. The triggerer looks again", error)
            self._defer_to_trigger(batch_id, now + self.deadline.total_seconds())
        deadline = (batch.created_at or now) + self.deadline.total_seconds()
        self.log.info("Batch %s: %s, %s", batch.id, batch.raw_status, batch.counts)
        step = next_step(batch, now=now, deadline=deadline)
        if isinstance(step, Done):
            return self._settle(step, batch.created_at)
        self._defer_to_trigger(batch_id, deadline)

    def _defer_to_trigger(self, batch_id: str, deadline: float, *, succeeds_on: Sequence[str] = _COMPLETED) -> NoReturn:
        # What Airflow does for a task at its end on a worker, it does not where the triggerer ends it.
        needs_worker = self.outlets or self.on_success_callback or self._post_execute_hook is not None
        trigger = GreenNodeBatchTrigger(
            self.greennode_conn_id,
            batch_id,
            deadline,
            self.when_killed,
            succeeds_on=() if needs_worker else succeeds_on,
        )
        self.defer(trigger=trigger, method_name="resume")

    def _defer_until(self, moment: float) -> NoReturn:
        self.defer(trigger=DateTimeTrigger(moment=datetime.fromtimestamp(moment, UTC)), method_name="send_again")

    def _settle(self, done: Done, created_at: float | None = None) -> dict[str, str]:
        batch_id, reason, status = self.batch_id or "", done.reason, done.status
        self._count_end(done, created_at)
        if reason == "deadline":
            raise AirflowException(
                f"batch {batch_id} is still {status} {self.deadline} after it was created; it was not cancelled. "
                "Nothing is lost: clear this task to look again, or cancel the batch at GreenNode, then clear"
            )
        if reason != "ended" or status != BatchStatus.COMPLETED.name:
            raise AirflowException(f"batch {batch_id} ended as {status}" if reason == "ended" else _WORDS[reason])
        self.log.info("Batch %s ended: %s", batch_id, status)
        return {"batch_id": batch_id, "status": status, "reason": reason}

    def _count_end(self, done: Done, created_at: float | None) -> None:
        count_end(done, dag_id=self.dag_id, conn_id=self.greennode_conn_id, created_at=created_at)


_WORDS = {
    "forgotten": "the server has not known this batch for half an hour; is it of another account or base URL?",
    "refused": "for half an hour the API has refused to be asked for this batch; the trigger's log says why",
}
