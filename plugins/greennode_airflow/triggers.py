"""GreenNodeBatchTrigger: waits for one batch in the triggerer, and fires once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from greennode_airflow.observability.metric_events import count_end
from greennode_airflow.waiting.poller import Poller
from greennode_airflow.waiting.shared_client import shared_client
from greennode_airflow.waiting.task_states import name_of, states_like
from greennode_airflow.waiting.waiter import Waiter
from greennode_batch.api.capacity import failed_for_want_of_room
from greennode_batch.api.polling.polling import Done
from greennode_batch.api.polling.watch import Watch

REASONS = ("ended", "deadline", "forgotten", "refused")
"""Why the trigger fires. `refused`: for half an hour the API has taken no question, with the key for example."""
# Each: how many may be under way at a time is bounded as well, and nobody's time runs while they wait for that.
_CANCEL_SECONDS = 20.0
# After the deadline, for the last look.
_LAST_LOOK_SECONDS = 10.0
# What a person sets by hand; a cleared task has none of these.
_MARKED = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})

# The loop itself holds its tasks but weakly.
_under_way: set[asyncio.Task[None]] = set()


class GreenNodeBatchTrigger(BaseTrigger):
    """Fires when the batch has ended, whatever its end, when the deadline has passed, or if the batch is gone.

    The looks are the poller's, which has one call for many batches. A look that fails is logged, and made again.

    deadline: epoch seconds. on_kill: `cancel` ends the remote batch when a person marks the waiting task as failed
    or as success; a task that is cleared goes on with the batch. succeeds_on: an end with one of these statuses ends
    the task right here, as a success whose result is what a resumed sensor returns, so that no worker is started;
    save for a batch that was refused for want of room.
    """

    def __init__(
        self,
        greennode_conn_id: str,
        batch_id: str,
        deadline: float,
        on_kill: Literal["cancel", "leave"],
        succeeds_on: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.greennode_conn_id = greennode_conn_id
        self.batch_id = batch_id
        self.deadline = deadline
        self.when_killed = on_kill
        self.succeeds_on = list(succeeds_on)
        self._seen = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer needs to make this trigger again; no secret is part of it."""
        return (
            "greennode_airflow.triggers.GreenNodeBatchTrigger",
            {
                "greennode_conn_id": self.greennode_conn_id,
                "batch_id": self.batch_id,
                "deadline": self.deadline,
                "on_kill": self.when_killed,
                "succeeds_on": self.succeeds_on,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until there is something to tell; yield one event."""
        with Poller.of(self.greennode_conn_id).waiting(self.batch_id, deadline=self.deadline) as waiter:
            done = await self._until_done(waiter)
        yield self._event(done, waiter.watch)

    async def _until_done(self, waiter: Waiter) -> Done:
        while True:
            left = self.deadline + _LAST_LOOK_SECONDS - time.time()
            if not await waiter.news(seconds=max(left, 0.0)):
                batch = waiter.watch.batch
                return Done("deadline", batch.status.name) if batch is not None else Done("deadline")
            self._tell(waiter.watch)
            if isinstance(waiter.watch.step, Done):
                return waiter.watch.step

    def _tell(self, watch: Watch) -> None:
        """Say what has changed: a failure, or how far the batch is."""
        if watch.error is not None:
            self.log.warning("Batch %s could not be looked at, trying again: %s", self.batch_id, watch.error)
            return
        batch = watch.batch
        progress = f"{batch.raw_status}, {batch.counts}" if batch is not None else ""
        if progress != self._seen:
            self.log.info("Batch %s: %s%s", self.batch_id, progress, watch.pace.in_words(time.time()))
            self._seen = progress

    def _event(self, done: Done, watch: Watch) -> TriggerEvent:
        has_room = watch.batch is None or not failed_for_want_of_room(watch.batch)
        if done.reason == "ended" and done.status in self.succeeds_on and has_room:
            self.log.info("The wait for batch %s is over: %s, %s", self.batch_id, done.reason, done.status)
            count_end(
                done,
                dag_id=self.task_instance.dag_id if self.task_instance else "",
                conn_id=self.greennode_conn_id,
                created_at=watch.batch.created_at if watch.batch else None,
            )
            result = {"batch_id": self.batch_id, "status": done.status, "reason": done.reason}
            return TaskSuccessEvent(xcoms={"return_value": result})
        return TriggerEvent(
            {
                "batch_id": self.batch_id,
                "reason": done.reason,
                "status": done.status,
                "missing_since": watch.missing_since,
            }
        )

    async def on_kill(self) -> None:
        """Cancel the remote batch if a person has marked the waiting task, unless told to leave it."""
        if self.when_killed == "leave":
            self.log.info("Batch %s is left to run (on_kill='leave')", self.batch_id)
            return
        # Airflow 3.3.2 cancels a trigger that was killed again at each round of its loop, a second apart, and with it
        # what is done here; the first question to its API alone takes some seconds. So it is done beside.
        work = asyncio.create_task(self._cancel_unless_cleared())
        _under_way.add(work)
        work.add_done_callback(_under_way.discard)
        await asyncio.shield(work)

    async def _cancel_unless_cleared(self) -> None:
        try:
            if await self._is_cleared():
                self.log.info("The task was cleared: batch %s runs on, and the next try waits for it", self.batch_id)
                return
            async with (
                shared_client(self.greennode_conn_id) as shared,
                shared.cancels,
                asyncio.timeout(_CANCEL_SECONDS),
            ):
                await (await shared.get()).cancel_batch(self.batch_id)
        except Exception:
            self.log.exception(
                "Batch %s could not be cancelled and runs on; a cleared task waits for it", self.batch_id
            )
            return
        self.log.info("Batch %s: cancellation asked for; finished rows stay to be collected", self.batch_id)

    async def _is_cleared(self) -> bool:
        """Whether the task is to run again, by the state that Airflow gives it now."""
        task = self.task_instance
        if task is None:
            return False
        states, name = await states_like(task), name_of(task)
        return name in states and states[name] not in _MARKED
