"""GreenNodeBatchSensor: looks at a batch once, then waits in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from airflow.sdk import BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowException

from greennode_airflow.failures import fail_without_retry
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.triggers import GreenNodeBatchTrigger
from greennode_batch.api.polling import Done, next_step
from greennode_batch.api.wire import BatchStatus
from greennode_batch.run import DEADLINE_SECONDS


class GreenNodeBatchSensor(BaseSensorOperator):
    """Waits until a batch has ended, without a worker slot. Returns its id and status.

    batch_id: of the batch (templated). deadline: how long after its creation to give up; longer than the API's
    window of 24 hours. on_kill: `cancel` ends the remote batch when a person marks or clears the waiting task,
    `leave` lets it run. cancel_at_deadline: cancel the batch then and wait for its end, so that the answers that
    are finished can be collected (the pipeline does); else the task fails and the batch goes on. accept_any_end:
    succeed also for a batch that failed, expired or was cancelled (the pipeline does, for it settles such batches
    row by row).
    """

    template_fields: Sequence[str] = ("batch_id", "greennode_conn_id")

    def __init__(
        self,
        *,
        batch_id: str,
        greennode_conn_id: str = GreenNodeHook.default_conn_name,
        deadline: timedelta = timedelta(seconds=DEADLINE_SECONDS),
        on_kill: Literal["cancel", "leave"] = "cancel",
        cancel_at_deadline: bool = False,
        accept_any_end: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.greennode_conn_id = greennode_conn_id
        self.deadline = deadline
        self.when_killed = on_kill
        self.cancel_at_deadline = cancel_at_deadline
        self.accept_any_end = accept_any_end

    @fail_without_retry
    def execute(self, context: Context) -> dict[str, str]:
        """Look once; defer if the batch still runs."""
        with GreenNodeHook(self.greennode_conn_id).get_conn() as client:
            batch = client.get_batch(self.batch_id)
        now = time.time()
        deadline = (batch.created_at or now) + self.deadline.total_seconds()
        self.log.info("Batch %s: %s, %s", batch.id, batch.raw_status, batch.counts)
        step = next_step(batch, now=now, deadline=deadline)
        if isinstance(step, Done) and (step.reason == "ended" or not self.cancel_at_deadline):
            return self._settle(step.reason, batch.status.name)
        trigger = GreenNodeBatchTrigger(
            self.greennode_conn_id, self.batch_id, deadline, self.when_killed, self.cancel_at_deadline
        )
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, str]:
        """Go on after the trigger fired."""
        if event.get("batch_id") != self.batch_id or event.get("reason") not in {"ended", "deadline"}:
            raise AirflowException(f"an event that is not of batch {self.batch_id}: {event}")
        return self._settle(event["reason"], event["status"])

    def _settle(self, reason: str, status: str) -> dict[str, str]:
        if reason == "deadline":
            raise AirflowException(
                f"batch {self.batch_id} is still {status} {self.deadline} after it was created"
                f"{', though it was asked to be cancelled' if self.cancel_at_deadline else '; it was not cancelled'}. "
                "Nothing is lost: clear this task to look again, or cancel the batch at GreenNode, then clear"
            )
        if status != BatchStatus.COMPLETED.name and not self.accept_any_end:
            raise AirflowException(f"batch {self.batch_id} ended as {status}")
        self.log.info("Batch %s ended: %s", self.batch_id, status)
        return {"batch_id": self.batch_id, "status": status}
