"""GreenNodeBatchTrigger: waits for one batch in the triggerer, and fires once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.api.client import AsyncGreenNodeClient
from greennode_batch.api.polling import FORGOTTEN_SECONDS, MAX_POLL_SECONDS, Done, Wait, next_step, when_missing
from greennode_batch.errors import ApiError, GreenNodeError, NotFoundError, RetryableError

REASONS = ("ended", "deadline", "forgotten", "refused")
"""Why the trigger fires. `refused`: for half an hour the API has taken no question, with the key for example."""
_CANCEL_SECONDS = 20.0
# What a person sets by hand; a cleared task has none of these.
_MARKED = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})

# The loop itself holds its tasks but weakly.
_under_way: set[asyncio.Task[None]] = set()


class GreenNodeBatchTrigger(BaseTrigger):
    """Fires when the batch has ended, whatever its end, when the deadline has passed, or if the batch is gone.

    deadline: epoch seconds. on_kill: `cancel` ends the remote batch when a person marks the waiting task as failed
    or as success; a task that is cleared goes on with the batch. A poll that fails is logged and tried again.
    """

    def __init__(
        self,
        greennode_conn_id: str,
        batch_id: str,
        deadline: float,
        on_kill: Literal["cancel", "leave"],
    ) -> None:
        super().__init__()
        self.greennode_conn_id = greennode_conn_id
        self.batch_id = batch_id
        self.deadline = deadline
        self.when_killed = on_kill
        self._seen = ""
        self._missing_since: float | None = None
        self._refused_since: float | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer needs to make this trigger again; no secret is part of it."""
        return (
            "greennode_airflow.triggers.GreenNodeBatchTrigger",
            {
                "greennode_conn_id": self.greennode_conn_id,
                "batch_id": self.batch_id,
                "deadline": self.deadline,
                "on_kill": self.when_killed,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is something to tell; yield one event."""
        async with await self._client() as client:
            while True:
                step = await self._look(client)
                if isinstance(step, TriggerEvent):
                    yield step
                    return
                await asyncio.sleep(step.seconds)

    async def _look(self, client: AsyncGreenNodeClient) -> Wait | TriggerEvent:
        """Look once. A look that failed is a wait, up to the deadline."""
        now = time.time()
        try:
            batch = await client.get_batch(self.batch_id)
        except GreenNodeError as error:
            return self._failed(error, now)
        self._missing_since = self._refused_since = None
        progress = f"{batch.raw_status}, {batch.counts}"
        if progress != self._seen:
            self.log.info("Batch %s: %s", self.batch_id, progress)
            self._seen = progress
        step = next_step(batch, now=now, deadline=self.deadline)
        return step if isinstance(step, Wait) else self._event(step.reason, step.status)

    def _failed(self, error: GreenNodeError, now: float) -> Wait | TriggerEvent:
        self.log.warning("Batch %s could not be looked at, trying again: %s", self.batch_id, error)
        left = self.deadline - now
        if left <= 0:
            return self._event("deadline")
        if isinstance(error, NotFoundError):
            self._missing_since = self._missing_since or now
            step = when_missing(self._missing_since, now=now)
            return self._event("forgotten") if isinstance(step, Done) else Wait(min(step.seconds, left))
        if isinstance(error, ApiError) and not isinstance(error, RetryableError):
            self._refused_since = self._refused_since or now
            if now - self._refused_since >= FORGOTTEN_SECONDS:
                return self._event("refused")
        return Wait(min(MAX_POLL_SECONDS, left))

    def _event(self, reason: str, status: str = "UNKNOWN") -> TriggerEvent:
        return TriggerEvent(
            {
                "batch_id": self.batch_id,
                "reason": reason,
                "status": status,
                "missing_since": self._missing_since,
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
            async with asyncio.timeout(_CANCEL_SECONDS), await self._client() as client:
                await client.cancel_batch(self.batch_id)
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
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=task.dag_id, task_ids=[task.task_id], run_ids=[task.run_id], map_index=task.map_index
        )
        found = states.get(task.run_id, {})
        name = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
        return name in found and found[name] not in _MARKED

    async def _client(self) -> AsyncGreenNodeClient:
        return await GreenNodeHook(self.greennode_conn_id).aget_conn()
