"""Triggers: GreenNodeBatchTrigger waits for batches in the triggerer, GreenNodePauseTrigger for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from greennode_airflow.observability.metric_events import count_end
from greennode_airflow.runtime.airflow_features import CALLS_ON_KILL
from greennode_airflow.waiting.killed_tasks import name_of, states_like
from greennode_airflow.waiting.poller import Poller
from greennode_airflow.waiting.shared_client import SharedClient, shared_client
from greennode_batch.api.capacity import failed_over_capacity
from greennode_batch.api.polling.polling import Done
from greennode_batch.api.polling.watch import Watch

REASONS = ("ended", "deadline", "forgotten", "refused")
"""Why the trigger fires. `refused`: for half an hour the API has refused all polls, because of the key for example."""
# Seconds for each cancel: how many run at a time is limited as well, and time in that queue does not count.
_CANCEL_SECONDS = 20.0
# After the deadline, for the last poll.
_LAST_POLL_SECONDS = 10.0
_MAX_PAUSE_SECONDS = 60.0
# States that a person sets by hand; a cleared task has none of these.
_MARKED = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})
# Not a state of Airflow: the task is not there any more, or is not known.
_GONE = "gone"

# The loop itself holds its tasks only weakly.
_under_way: set[asyncio.Task[None]] = set()


def events_of(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """An event's entry for each of its batches; the reason is None for a batch that is still waited for."""
    return list(event.get("batches", [event]))


class GreenNodeBatchTrigger(BaseTrigger):
    """Fires when the batch has ended, whatever its end, when the deadline has passed, or if the batch is gone.

    The poller makes the polls, with one call for many batches. A failed poll is logged, and repeated.

    batch_id: a list waits for all of these, and fires before they have ended only if one of them needs a worker: at the
    deadline, which is common to all, or if it was refused for lack of capacity, or is gone. deadline: epoch seconds.
    on_kill: `cancel` ends the remote batch when a person marks the waiting task as failed or as success; a task that is
    cleared continues with the batch.
    succeeds_on: an end with one of these statuses ends the task in the triggerer, as a success with the result of a
    resumed sensor, so that no worker is started; except for a batch that was refused for lack of capacity.
    """

    def __init__(
        self,
        greennode_conn_id: str,
        batch_id: str | Sequence[str],
        deadline: float,
        on_kill: Literal["cancel", "leave"],
        succeeds_on: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.greennode_conn_id = greennode_conn_id
        self.batch_id = batch_id if isinstance(batch_id, str) else list(batch_id)
        self.deadline = deadline
        self.when_killed = on_kill
        self.succeeds_on = list(succeeds_on)
        self._seen: dict[str, str] = {}
        self._is_stopped = False

    @property
    def batch_ids(self) -> list[str]:
        """The batches that it waits for."""
        return [self.batch_id] if isinstance(self.batch_id, str) else self.batch_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The arguments to make this trigger again; they hold no secret."""
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
        """Wait until there is something to report; yield one event."""
        watches: dict[str, Watch] = {}
        waits = {asyncio.create_task(self._wait(one, watches)): one for one in self.batch_ids}
        over: dict[str, Done] = {}
        try:
            while len(over) < len(waits) and all(_is_plain(watches[one], done) for one, done in over.items()):
                left = [wait for wait, one in waits.items() if one not in over]
                ended, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                over |= {waits[wait]: wait.result() for wait in ended}
        except asyncio.CancelledError:
            self._is_stopped = True
            raise
        finally:
            for wait in waits:
                wait.cancel()
        yield self._event(watches, over)

    async def _wait(self, batch_id: str, watches: dict[str, Watch]) -> Done:
        """Why the wait for one batch is over; stores its state in `watches`."""
        with Poller.of(self.greennode_conn_id).waiting(batch_id, deadline=self.deadline) as waiter:
            watch = watches[batch_id] = waiter.watch
            while True:
                left = self.deadline + _LAST_POLL_SECONDS - time.time()
                if not await waiter.news(seconds=max(left, 0.0)):
                    return Done("deadline", watch.batch.status.name) if watch.batch is not None else Done("deadline")
                self._tell(watch)
                if isinstance(watch.step, Done):
                    return watch.step

    def _tell(self, watch: Watch) -> None:
        """Log a change: a failure, or how far the batch is."""
        batch_id = watch.batch_id
        if watch.error is not None:
            self.log.warning("Batch %s could not be polled, trying again: %s", batch_id, watch.error)
            return
        batch = watch.batch
        progress = f"{batch.raw_status}, {batch.counts}" if batch is not None else ""
        if progress != self._seen.get(batch_id, ""):
            self.log.info("Batch %s: %s%s", batch_id, progress, watch.pace.in_words(time.time()))
            self._seen[batch_id] = progress

    def _event(self, watches: Mapping[str, Watch], over: Mapping[str, Done]) -> TriggerEvent:
        is_one = isinstance(self.batch_id, str)
        if all(
            one in over and over[one].status in self.succeeds_on and _is_plain(watches[one], over[one])
            for one in self.batch_ids
        ):
            results = [self._success(watches[one], over[one]) for one in self.batch_ids]
            return TaskSuccessEvent(xcoms={"return_value": results[0] if is_one else results})
        events = [
            {
                "batch_id": one,
                "reason": over[one].reason if one in over else None,
                "status": over[one].status if one in over else None,
                "missing_since": watches[one].missing_since if one in watches else None,
            }
            for one in self.batch_ids
        ]
        return TriggerEvent(events[0] if is_one else {"batches": events})

    def _success(self, watch: Watch, done: Done) -> dict[str, str]:
        self.log.info("The wait for batch %s is over: %s, %s", watch.batch_id, done.reason, done.status)
        count_end(
            done,
            dag_id=self.task_instance.dag_id if self.task_instance else "",
            conn_id=self.greennode_conn_id,
            created_at=watch.batch.created_at if watch.batch else None,
        )
        return {"batch_id": watch.batch_id, "status": done.status, "reason": done.reason}

    async def on_kill(self) -> None:
        """Cancel the remote batches if a person has marked the waiting task, unless on_kill says to leave them."""
        await self._end(if_in=_MARKED | {_GONE})

    async def cleanup(self) -> None:
        """Do what on_kill does, on Airflow before 3.3, which does not call that.

        Airflow calls this at every exit, as when the triggerer stops: only a task that is marked ends its batches.
        """
        if self._is_stopped and not CALLS_ON_KILL:
            await self._end(if_in=_MARKED)

    async def _end(self, *, if_in: Collection[str]) -> None:
        """Cancel the remote batches if the task is in one of these states."""
        if self.when_killed == "leave":
            self.log.info("%s: left to run (on_kill='leave')", self._words)
            return
        # Airflow 3.3.2 cancels a killed trigger again at each round of its loop, a second apart, and with it any work
        # here; the first call of Airflow's API alone takes some seconds. So the work runs in a separate task.
        work = asyncio.create_task(self._cancel_all(if_in))
        _under_way.add(work)
        work.add_done_callback(_under_way.discard)
        await asyncio.shield(work)

    async def _cancel_all(self, if_in: Collection[str]) -> None:
        try:
            if await self._task_state() not in if_in:
                self.log.info(
                    "The task was not marked: %s runs on, and the task or its next try waits for it", self._words
                )
                return
            async with shared_client(self.greennode_conn_id) as shared:
                await asyncio.gather(*(self._cancel(shared, batch_id) for batch_id in self.batch_ids))
        except Exception:
            self.log.exception("%s could not be cancelled and runs on; a cleared task waits for it", self._words)

    async def _cancel(self, shared: SharedClient, batch_id: str) -> None:
        try:
            async with shared.cancels, asyncio.timeout(_CANCEL_SECONDS):
                await (await shared.get()).cancel_batch(batch_id)
        except Exception:
            self.log.exception("Batch %s could not be cancelled and runs on; a cleared task waits for it", batch_id)
            return
        self.log.info("Batch %s: cancellation requested; finished rows stay to be collected", batch_id)

    @property
    def _words(self) -> str:
        return f"Batch {', '.join(self.batch_ids)}"

    async def _task_state(self) -> str | None:
        """The current state of the task in Airflow; None if it is to run again, or runs."""
        task = self.task_instance
        if task is None:
            return _GONE
        states, name = await states_like(task), name_of(task)
        state: str | None = states.get(name, _GONE)
        return state


def _is_plain(watch: Watch, done: Done) -> bool:
    """Whether the batch has ended, and only its results remain."""
    return done.reason == "ended" and (watch.batch is None or not failed_over_capacity(watch.batch))


class GreenNodePauseTrigger(BaseTrigger):
    """Fires at a moment, with it as the event. Logs once when that is; Airflow's own trigger logs each second.

    moment: epoch seconds.
    """

    def __init__(self, moment: float) -> None:
        super().__init__()
        self.moment = moment

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The arguments to make this trigger again."""
        return "greennode_airflow.triggers.GreenNodePauseTrigger", {"moment": self.moment}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the moment; yield one event."""
        self.log.info("Trying again at %s UTC", datetime.fromtimestamp(self.moment, UTC).strftime("%H:%M:%S"))
        # In short steps: the clock may be set, and the machine may have slept.
        while (left := self.moment - time.time()) > 0:  # noqa: ASYNC110 - nothing but the clock tells when it is over
            await asyncio.sleep(min(left, _MAX_PAUSE_SECONDS))
        yield TriggerEvent(self.moment)
