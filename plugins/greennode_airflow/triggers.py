"""GreenNodeBatchTrigger: waits for one batch in the triggerer, and fires once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.api.client import AsyncGreenNodeClient
from greennode_batch.api.polling import MAX_POLL_SECONDS, Done, next_step
from greennode_batch.errors import GreenNodeError

_CANCEL_SECONDS = 20.0


class GreenNodeBatchTrigger(BaseTrigger):
    """Fires when the batch has ended, whatever its end, or when the deadline has passed.

    deadline: epoch seconds. on_kill: `cancel` ends the remote batch when a person marks or clears the waiting
    task. A poll that fails is logged and tried again: only the deadline ends a wait without an answer.
    """

    def __init__(
        self, greennode_conn_id: str, batch_id: str, deadline: float, on_kill: Literal["cancel", "leave"]
    ) -> None:
        super().__init__()
        self.greennode_conn_id = greennode_conn_id
        self.batch_id = batch_id
        self.deadline = deadline
        self.when_killed = on_kill

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
        """Poll until the batch has ended or the deadline has passed; yield one event."""
        async with await self._client() as client:
            seen = ""
            while True:
                seconds = MAX_POLL_SECONDS
                try:
                    batch = await client.get_batch(self.batch_id)
                except GreenNodeError as error:
                    self.log.warning("Batch %s could not be looked at, trying again: %s", self.batch_id, error)
                    if time.time() >= self.deadline:
                        yield self._event("deadline", "UNKNOWN")
                        return
                else:
                    progress = f"{batch.raw_status}, {batch.counts}"
                    if progress != seen:
                        self.log.info("Batch %s: %s", self.batch_id, progress)
                        seen = progress
                    step = next_step(batch, now=time.time(), deadline=self.deadline)
                    if isinstance(step, Done):
                        yield self._event(step.reason, batch.status.name)
                        return
                    seconds = step.seconds
                await asyncio.sleep(max(0.0, min(seconds, self.deadline - time.time())))

    async def on_kill(self) -> None:
        """A person marked or cleared the waiting task: cancel the remote batch, unless told to leave it."""
        if self.when_killed == "leave":
            self.log.info("Batch %s is left to run (on_kill='leave')", self.batch_id)
            return
        async with asyncio.timeout(_CANCEL_SECONDS), await self._client() as client:
            await client.cancel_batch(self.batch_id)
        self.log.info("Batch %s: cancellation asked for; finished rows stay to be collected", self.batch_id)

    async def _client(self) -> AsyncGreenNodeClient:
        return await GreenNodeHook(self.greennode_conn_id).aget_conn()

    def _event(self, reason: str, status: str) -> TriggerEvent:
        return TriggerEvent({"batch_id": self.batch_id, "reason": reason, "status": status})
