from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable

import pytest
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from greennode_airflow import triggers
from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.triggers import GreenNodeBatchTrigger, GreenNodePauseTrigger
from greennode_batch.api.wire import BatchStatus
from greennode_emulator.server import RunningEmulator

MakeBatch = Callable[[], str]


def status_of(batch_id: str) -> BatchStatus:
    with GreenNodeHook().get_conn() as client:
        return client.get_batch(batch_id).status


def a_trigger(batch_id: str | list[str], *, seconds: float = 60, on_kill: str = "cancel") -> GreenNodeBatchTrigger:
    return GreenNodeBatchTrigger("greennode_default", batch_id, time.time() + seconds, on_kill)


POLLS = "GET /batches", "GET /batches/{id}"


async def first_event(trigger: GreenNodeBatchTrigger) -> dict[str, str]:
    events = [event async for event in trigger.run()]
    assert len(events) == 1
    assert isinstance(events[0], TriggerEvent)
    return events[0].payload


async def test_it_fires_once_when_the_batch_has_ended(connection: RunningEmulator, make_batch: MakeBatch) -> None:
    batch_id = make_batch()
    assert await first_event(a_trigger(batch_id)) == {
        "batch_id": batch_id,
        "reason": "ended",
        "status": "COMPLETED",
        "missing_since": None,
    }


async def test_it_fires_when_the_deadline_has_passed(slow_emulator: RunningEmulator, make_batch: MakeBatch) -> None:
    batch_id = make_batch()
    event = await first_event(a_trigger(batch_id, seconds=0.2))
    assert event["reason"] == "deadline"


async def test_it_fires_when_the_server_has_not_known_the_batch_for_long(
    connection: RunningEmulator, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greennode_batch.api.polling.polling.FORGOTTEN_SECONDS", 0.3)
    connection.faults([{"kind": "forgotten"}])
    before = time.time()
    event = await first_event(a_trigger(make_batch()))
    assert event["reason"] == "forgotten"
    assert event["missing_since"] >= before


async def test_it_fires_when_the_key_has_been_refused_for_long(
    slow_emulator: RunningEmulator,
    make_batch: MakeBatch,
    set_connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch_id = make_batch()
    set_connection(host=slow_emulator.base_url, password="revoked")
    monkeypatch.setattr("greennode_batch.api.polling.polling.FORGOTTEN_SECONDS", 0.0)
    assert (await first_event(a_trigger(batch_id)))["reason"] == "refused"


async def test_polls_that_fail_do_not_end_the_wait_before_the_deadline(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    event = await first_event(a_trigger("batch_that_is_not_there", seconds=0.3))
    assert (event["reason"], event["status"]) == ("deadline", "UNKNOWN")


async def test_a_kill_by_a_person_cancels_the_remote_batch(
    slow_emulator: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_id = make_batch()
    await a_trigger(batch_id).on_kill()
    assert status_of(batch_id) in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}


class Task:
    dag_id, run_id, task_id, map_index = "dag", "run", "wait", 3


@pytest.mark.parametrize(
    ("state", "cancelled"), [("failed", True), ("success", True), (None, False), ("queued", False)]
)
async def test_a_task_that_is_marked_cancels_its_batch_and_one_that_is_cleared_goes_on_with_it(
    *,
    state: str | None,
    cancelled: bool,
    slow_emulator: RunningEmulator,
    make_batch: MakeBatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch_id = make_batch()
    trigger = a_trigger(batch_id)
    trigger.task_instance = Task()
    # What Airflow's API tells a trigger; the system tests ask the real one.
    states = {"run": {"wait_3": state}}
    monkeypatch.setattr(
        "greennode_airflow.waiting.killed_tasks.RuntimeTaskInstance.get_task_states", lambda **_: states
    )
    await trigger.on_kill()
    assert (status_of(batch_id) in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}) is cancelled


async def test_a_kill_that_is_itself_cancelled_ends_all_the_same(
    slow_emulator: RunningEmulator, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow cancels a trigger that it has killed once more at each round of its loop."""
    batch_id = make_batch()
    trigger = a_trigger(batch_id)
    trigger.task_instance = Task()
    requested, answer = threading.Event(), threading.Event()

    def states(**_: object) -> dict[str, dict[str, str]]:
        requested.set()
        answer.wait(30)
        return {"run": {"wait_3": "failed"}}

    monkeypatch.setattr("greennode_airflow.waiting.killed_tasks.RuntimeTaskInstance.get_task_states", states)
    killing = asyncio.create_task(trigger.on_kill())
    await asyncio.to_thread(requested.wait, 30)
    killing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killing
    answer.set()
    await asyncio.gather(*triggers._under_way)
    assert status_of(batch_id) in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}


async def test_a_kill_leaves_the_remote_batch_where_the_job_says_so(
    slow_emulator: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_id = make_batch()
    await a_trigger(batch_id, on_kill="leave").on_kill()
    assert not status_of(batch_id).is_terminal
    assert status_of(batch_id) is not BatchStatus.CANCELLING


@pytest.mark.parametrize(
    ("state", "calls_on_kill", "cancelled"),
    [
        ("failed", False, True),
        ("success", False, True),
        ("deferred", False, False),
        (None, False, False),
        ("failed", True, False),
    ],
)
async def test_where_airflow_does_not_call_on_kill_the_end_of_a_trigger_cancels_the_batch_of_a_marked_task_alone(
    *,
    state: str | None,
    calls_on_kill: bool,
    cancelled: bool,
    slow_emulator: RunningEmulator,
    make_batch: MakeBatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A triggerer that restarts also cancels its coroutines and calls cleanup(): then the batch must go on."""
    monkeypatch.setattr(triggers, "CALLS_ON_KILL", calls_on_kill)
    monkeypatch.setattr(
        "greennode_airflow.waiting.killed_tasks.RuntimeTaskInstance.get_task_states",
        lambda **_: {"run": {"wait_3": state}},
    )
    batch_id = make_batch()
    trigger = a_trigger(batch_id)
    trigger.task_instance = Task()
    waiting = asyncio.ensure_future(first_event(trigger))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await trigger.cleanup()
    assert (status_of(batch_id) in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}) is cancelled


async def test_a_trigger_that_has_fired_cancels_nothing_in_the_end(
    slow_emulator: RunningEmulator, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "CALLS_ON_KILL", False)
    batch_id = make_batch()
    trigger = a_trigger(batch_id, seconds=-20)
    await first_event(trigger)
    await trigger.cleanup()
    assert not status_of(batch_id).is_terminal


async def test_a_pause_fires_once_at_its_moment_and_logs_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    moment = time.time() + 0.05
    path, arguments = GreenNodePauseTrigger(moment).serialize()
    assert path == "greennode_airflow.triggers.GreenNodePauseTrigger"
    (event,) = [event async for event in GreenNodePauseTrigger(**arguments).run()]
    assert event.payload == moment
    assert time.time() >= moment
    assert capfd.readouterr().out.count("Trying again at") == 1


def test_what_is_stored_of_a_trigger_makes_it_again_and_holds_no_key(connection: RunningEmulator) -> None:
    path, arguments = a_trigger("batch_1").serialize()
    assert path == "greennode_airflow.triggers.GreenNodeBatchTrigger"
    assert connection.api_key not in json.dumps(arguments)
    assert GreenNodeBatchTrigger(**arguments).serialize() == (path, arguments)


async def test_waiting_does_not_block_the_loop_that_all_triggers_share(
    slow_emulator: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_id = make_batch()
    slow_emulator.faults([{"kind": "timeout", "endpoint": endpoint, "count": None} for endpoint in POLLS])

    def polls() -> int:
        return sum(slow_emulator.ledger()["calls"].get(endpoint, 0) for endpoint in POLLS)

    waits = [asyncio.ensure_future(first_event(a_trigger(batch_id, seconds=600))) for _ in range(5)]
    while not polls():  # noqa: ASYNC110 - no event comes out of the server
        await asyncio.sleep(0.005)
    for _ in range(20):
        await asyncio.sleep(0.005)
    # All that time one poll has hung, and nothing but it.
    assert polls() == 1
    assert not any(wait.done() for wait in waits)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)


async def test_a_plain_end_ends_the_task_itself_with_what_a_worker_would_return(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_id = make_batch()
    trigger = GreenNodeBatchTrigger("greennode_default", batch_id, time.time() + 60, "cancel", ["COMPLETED"])
    (event,) = [event async for event in trigger.run()]
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {"return_value": {"batch_id": batch_id, "status": "COMPLETED", "reason": "ended"}}


async def test_a_batch_that_was_refused_for_want_of_room_is_left_to_a_worker(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    connection.faults([{"kind": "failed", "code": "token_limit_exceeded"}])
    trigger = GreenNodeBatchTrigger("greennode_default", make_batch(), time.time() + 60, "cancel", ["FAILED"])
    (event,) = [event async for event in trigger.run()]
    assert not isinstance(event, TaskSuccessEvent)
    assert event.payload["status"] == "FAILED"


STUCK = {"kind": "stuck", "status": "in_progress", "count": None}


async def test_a_trigger_of_several_batches_fires_once_all_have_ended_with_the_end_of_each(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_ids = [make_batch() for _ in range(3)]
    events = await first_event(a_trigger(batch_ids))
    assert [(one["batch_id"], one["reason"], one["status"]) for one in events["batches"]] == [
        (batch_id, "ended", "COMPLETED") for batch_id in batch_ids
    ]
    trigger = GreenNodeBatchTrigger("greennode_default", batch_ids, time.time() + 60, "cancel", ["COMPLETED"])
    (event,) = [event async for event in trigger.run()]
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms["return_value"] == [
        {"batch_id": batch_id, "status": "COMPLETED", "reason": "ended"} for batch_id in batch_ids
    ]


async def test_a_batch_that_needs_a_worker_does_not_wait_for_the_others_of_its_trigger(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    connection.faults([{"kind": "failed", "code": "token_limit_exceeded"}])
    refused = make_batch()
    connection.faults([STUCK])
    open_batch = make_batch()
    trigger = GreenNodeBatchTrigger("greennode_default", [open_batch, refused], time.time() + 600, "cancel", ["FAILED"])
    (event,) = [event async for event in trigger.run()]
    assert not isinstance(event, TaskSuccessEvent)
    assert [(one["batch_id"], one["reason"]) for one in event.payload["batches"]] == [
        (open_batch, None),
        (refused, "ended"),
    ]


async def test_a_batch_that_has_ended_is_not_looked_at_again_while_the_others_are_waited_for(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    ended = make_batch()
    while not status_of(ended).is_terminal:
        pass
    connection.faults([STUCK])
    open_batch = make_batch()

    def polls() -> int:
        calls = connection.ledger()["calls"]
        return sum(calls.get(endpoint, 0) for endpoint in POLLS)

    before = polls()
    events = await first_event(a_trigger([open_batch, ended], seconds=1.0))
    assert {one["batch_id"]: one["reason"] for one in events["batches"]} == {open_batch: "deadline", ended: "ended"}
    assert polls() - before < 20


async def test_a_kill_by_a_person_cancels_all_batches_of_a_trigger_whatever_becomes_of_one(
    slow_emulator: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_ids = [make_batch(), make_batch()]
    await a_trigger([batch_ids[0], "batch_that_is_not_there", batch_ids[1]]).on_kill()
    assert {status_of(one) for one in batch_ids} <= {BatchStatus.CANCELLING, BatchStatus.CANCELLED}


async def test_a_trigger_that_the_version_before_has_stored_goes_on(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    """Airflow keeps these arguments in its database while a task waits."""
    batch_id = make_batch()
    stored = {
        "greennode_conn_id": "greennode_default",
        "batch_id": batch_id,
        "deadline": time.time() + 60,
        "on_kill": "cancel",
        "succeeds_on": ["COMPLETED", "FAILED", "EXPIRED", "CANCELLED"],
    }
    trigger = GreenNodeBatchTrigger(**stored)
    assert trigger.serialize() == ("greennode_airflow.triggers.GreenNodeBatchTrigger", stored)
    (event,) = [event async for event in trigger.run()]
    assert event.xcoms == {"return_value": {"batch_id": batch_id, "status": "COMPLETED", "reason": "ended"}}
