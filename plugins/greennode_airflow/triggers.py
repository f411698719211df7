"""GreenNodeBatchTrigger: waits for one batch in the triggerer, and fires once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from greennode_airflow.hooks import GreenNodeHook
from greennode_batch.api.client import AsyncGreenNodeClient
from greennode_batch.api.polling import MAX_POLL_SECONDS, MIN_POLL_SECONDS, Done, Wait, next_step
from greennode_batch.api.wire import BatchStatus
from greennode_batch.errors import GreenNodeError

_CANCEL_SECONDS = 20.0
CANCEL_GRACE_SECONDS = 1800.0
"""How long a batch that was cancelled at its deadline may take to end."""


class GreenNodeBatchTrigger(BaseTrigger):
    """Fires when the batch has ended, whatever its end, or when the deadline has passed.

    deadline: epoch seconds. on_kill: `cancel` ends the remote batch when a person marks or clears the waiting
    task. cancel_at_deadline: ask for the batch to be cancelled then, and wait for the end that this brings, so
    that its finished answers can be fetched. A poll that fails is logged and tried again: only the deadline ends
    a wait without an answer.
    """

    def __init__(
        self,
        greennode_conn_id: str,
        batch_id: str,
        deadline: float,
        on_kill: Literal["cancel", "leave"],
        cancel_at_deadline: bool = False,  # noqa: FBT001, FBT002 - Airflow makes a trigger from its stored keywords
    ) -> None:
        super().__init__()
        self.greennode_conn_id = greennode_conn_id
        self.batch_id = batch_id
        self.deadline = deadline
        self.when_killed = on_kill
        self.cancel_at_deadline = cancel_at_deadline
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
                "cancel_at_deadline": self.cancel_at_deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the batch has ended or the deadline has passed; yield one event."""
        deadline, may_cancel = self.deadline, self.cancel_at_deadline
        async with await self._client() as client:
            while True:
                status, step = await self._look(client, deadline)
                if isinstance(step, Done) and step.reason == "deadline" and may_cancel:
                    await self._cancel_late(client, status)
                    deadline, may_cancel = time.time() + CANCEL_GRACE_SECONDS, False
                    step = Wait(MIN_POLL_SECONDS)
                if isinstance(step, Done):
                    yield TriggerEvent({"batch_id": self.batch_id, "reason": step.reason, "status": status})
                    return
                await asyncio.sleep(step.seconds)

    async def _look(self, client: AsyncGreenNodeClient, deadline: float) -> tuple[str, Wait | Done]:
        """The batch's status, and what to do next. A failed look is a wait, up to the deadline."""
        now = time.time()
        try:
            batch = await client.get_batch(self.batch_id)
        except GreenNodeError as error:
            self.log.warning("Batch %s could not be looked at, trying again: %s", self.batch_id, error)
            left = deadline - now
            return BatchStatus.UNKNOWN.name, Wait(min(MAX_POLL_SECONDS, left)) if left > 0 else Done("deadline")
        progress = f"{batch.raw_status}, {batch.counts}"
        if progress != self._seen:
            self.log.info("Batch %s: %s", self.batch_id, progress)
            self._seen = progress
        return batch.status.name, next_step(batch, now=now, deadline=deadline)

    async def _cancel_late(self, client: AsyncGreenNodeClient, status: str) -> None:
        self.log.warning("Batch %s is still %s at its deadline; cancelling it", self.batch_id, status)
        try:
            await client.cancel_batch(self.batch_id)
        except GreenNodeError as error:
            self.log.warning("Batch %s could not be cancelled: %s", self.batch_id, error)

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
