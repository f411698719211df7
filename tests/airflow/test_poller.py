from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.triggers import GreenNodeBatchTrigger
from greennode_airflow.waiting.poller import Poller
from greennode_batch.api.polling import poll_schedule
from greennode_batch.api.polling.polling import Done
from greennode_batch.errors import AuthError
from greennode_emulator.server import RunningEmulator

MakeBatches = Callable[[int], list[str]]
LIST, GET, CANCEL = "GET /batches", "GET /batches/{id}", "POST /batches/{id}/cancel"


@pytest.fixture
def make_batches(tmp_path: Path) -> MakeBatches:
    """So many batches of one request, all of the same file."""
    body = {"model": "google/gemma-4-31b-it", "messages": [{"role": "user", "content": "hi"}]}

    def make(count: int) -> list[str]:
        requests = tmp_path / "requests.jsonl"
        requests.write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
        with GreenNodeHook().get_conn() as client:
            file_id = client.upload_file(requests).id
            return [client.create_batch(file_id).id for _ in range(count)]

    return make


def a_trigger(batch_id: str, *, seconds: float = 60) -> GreenNodeBatchTrigger:
    return GreenNodeBatchTrigger("greennode_default", batch_id, time.time() + seconds, "cancel")


async def ends(trigger: GreenNodeBatchTrigger) -> str:
    (event,) = [event async for event in trigger.run()]
    assert event.payload["batch_id"] == trigger.batch_id
    return str(event.payload["reason"])


async def all_end(batch_ids: list[str], *, seconds: float = 60) -> set[str]:
    return set(await asyncio.gather(*(ends(a_trigger(batch_id, seconds=seconds)) for batch_id in batch_ids)))


def calls(emulator: RunningEmulator, endpoint: str) -> int:
    return int(emulator.ledger()["calls"].get(endpoint, 0))


async def test_many_are_looked_at_by_pages_of_the_list(connection: RunningEmulator, make_batches: MakeBatches) -> None:
    batch_ids = make_batches(40)
    assert await all_end(batch_ids) == {"ended"}
    assert 0 < calls(connection, LIST) + calls(connection, GET) < 20


async def test_batches_that_are_on_several_pages_are_found(
    slow_emulator: RunningEmulator, make_batches: MakeBatches
) -> None:
    batch_ids = make_batches(230)
    with ExitStack() as stack:
        waiters = [
            stack.enter_context(Poller.of("greennode_default").waiting(batch_id, deadline=time.time() + 600))
            for batch_id in batch_ids
        ]
        for waiter in waiters:
            assert await waiter.news(seconds=120)
            assert waiter.watch.batch is not None
    assert calls(slow_emulator, LIST) < 10
    assert calls(slow_emulator, GET) < 10


async def test_one_is_asked_for_by_itself(connection: RunningEmulator, make_batches: MakeBatches) -> None:
    assert await all_end(make_batches(1)) == {"ended"}
    assert calls(connection, LIST) == 0


@pytest.mark.parametrize("status", [404, 405, 403, 500])
async def test_a_list_that_is_refused_is_done_without(
    *, status: int, connection: RunningEmulator, make_batches: MakeBatches
) -> None:
    connection.faults([{"kind": "status", "endpoint": LIST, "status": status, "count": None}])
    assert await all_end(make_batches(5)) == {"ended"}
    assert 0 < calls(connection, LIST) <= 3


async def test_a_list_that_does_not_have_our_batches_is_no_proof_that_they_are_gone(
    connection: RunningEmulator, make_batches: MakeBatches
) -> None:
    connection.faults([{"kind": "late_in_list", "seconds": 600, "count": 5}])
    assert await all_end(make_batches(5)) == {"ended"}
    assert calls(connection, LIST) == 1


async def test_a_profile_that_has_no_list_is_asked_for_none(
    emulator: RunningEmulator, set_connection: Callable[..., None], make_batches: MakeBatches
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key, extra={"can_list_batches": False})
    assert await all_end(make_batches(5)) == {"ended"}
    assert calls(emulator, LIST) == 0


async def test_triggers_that_are_made_again_elsewhere_wait_on(
    connection: RunningEmulator, make_batches: MakeBatches
) -> None:
    connection.faults([{"kind": "stuck", "status": "in_progress", "seconds": 1, "count": 5}])
    batch_ids = make_batches(5)
    before = [asyncio.ensure_future(ends(a_trigger(batch_id))) for batch_id in batch_ids]
    await asyncio.sleep(0)
    for one in before:
        one.cancel()
    await asyncio.wait(before)
    stored = [a_trigger(batch_id).serialize()[1] for batch_id in batch_ids]

    def in_another_process() -> set[str]:
        return asyncio.run(_all(stored))

    assert await asyncio.to_thread(in_another_process) == {"ended"}


async def _all(stored: list[dict[str, object]]) -> set[str]:
    return set(await asyncio.gather(*(ends(GreenNodeBatchTrigger(**arguments)) for arguments in stored)))


async def test_a_key_that_was_changed_is_taken_up(
    connection: RunningEmulator, set_connection: Callable[..., None], make_batches: MakeBatches
) -> None:
    (batch_id,) = make_batches(1)
    set_connection(host=connection.base_url, password="revoked")
    with Poller.of("greennode_default").waiting(batch_id, deadline=time.time() + 600) as waiter:
        assert await waiter.news(seconds=120)
        assert isinstance(waiter.watch.error, AuthError)
        set_connection(host=connection.base_url, password=connection.api_key)
        while not isinstance(waiter.watch.step, Done):
            assert await waiter.news(seconds=120)
    assert waiter.watch.step.reason == "ended"


async def test_a_connection_that_cannot_be_resolved_right_now_ends_no_wait(
    connection: RunningEmulator,
    set_connection: Callable[..., None],
    make_batches: MakeBatches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (batch_id,) = make_batches(1)
    monkeypatch.delenv("AIRFLOW_CONN_GREENNODE_DEFAULT")
    with Poller.of("greennode_default").waiting(batch_id, deadline=time.time() + 600) as waiter:
        assert await waiter.news(seconds=120)
        assert "cannot be resolved" in str(waiter.watch.error)
        set_connection(host=connection.base_url, password=connection.api_key)
        while not isinstance(waiter.watch.step, Done):
            assert await waiter.news(seconds=120)
    assert waiter.watch.step.reason == "ended"


@pytest.mark.parametrize("endpoint", [LIST, GET])
async def test_all_of_a_connection_pause_when_the_server_asks_one_to(
    *, endpoint: str, slow_emulator: RunningEmulator, make_batches: MakeBatches
) -> None:
    fault = {"kind": "status", "endpoint": endpoint, "status": 429, "headers": {"Retry-After": "90"}, "count": None}
    slow_emulator.faults([fault])
    batch_ids = make_batches(2 if endpoint == LIST else 1)
    shared = Poller.of("greennode_default")
    with ExitStack() as stack:
        for batch_id in batch_ids:
            stack.enter_context(shared.waiting(batch_id, deadline=time.time() + 600))
        async with asyncio.timeout(30):
            while shared._budget.seconds_until_next(time.monotonic()) < 60:  # noqa: ASYNC110 - it is not told
                await asyncio.sleep(0.01)
        shared._wake.set()
    assert calls(slow_emulator, endpoint) == 1


async def test_a_call_that_hangs_holds_nobody_else_up(
    emulator: RunningEmulator, set_connection: Callable[..., None], make_batches: MakeBatches
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key, extra={"can_list_batches": False})
    batch_ids = make_batches(4)
    emulator.faults([{"kind": "timeout", "endpoint": GET}])
    waits = [asyncio.ensure_future(ends(a_trigger(batch_id))) for batch_id in batch_ids]
    orphaned = set(waits)
    while len(orphaned) > 1:
        _, orphaned = await asyncio.wait(orphaned, return_when=asyncio.FIRST_COMPLETED)
    (hanging,) = orphaned
    assert not hanging.done()
    hanging.cancel()
    await asyncio.wait([hanging])


async def test_a_mistake_in_the_poller_leaves_nobody_waiting_for_ever(
    connection: RunningEmulator, make_batches: MakeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = []

    def plan(*arguments: object, **options: object) -> object:
        planned.append(arguments)
        if len(planned) == 1:
            raise ZeroDivisionError
        return real(*arguments, **options)

    real = poll_schedule.plan_polls
    monkeypatch.setattr(poll_schedule, "plan_polls", plan)
    monkeypatch.setattr("greennode_airflow.waiting.poller._RESTART_SECONDS", 0.0)
    assert await all_end(make_batches(3)) == {"ended"}
    assert len(planned) > 1


async def test_when_nobody_waits_nothing_is_left_at_work(
    slow_emulator: RunningEmulator, make_batches: MakeBatches
) -> None:
    assert await all_end(make_batches(3), seconds=0.2) == {"deadline"}
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=30)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_hundreds_that_are_killed_together_are_all_cancelled(
    slow_emulator: RunningEmulator, make_batches: MakeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_ids = make_batches(200)
    slow_emulator.faults([{"kind": "slow", "endpoint": CANCEL, "seconds": 0.05, "count": None}])
    questions = []

    def states(**requested: object) -> dict[str, dict[str, str]]:
        questions.append(requested)
        return {"run": {f"wait_{number}": "failed" for number in range(200)}}

    monkeypatch.setattr("greennode_airflow.waiting.killed_tasks.RuntimeTaskInstance.get_task_states", states)

    class Task:
        dag_id, run_id, task_id = "dag", "run", "wait"

        def __init__(self, map_index: int) -> None:
            self.map_index = map_index

    triggers = [a_trigger(batch_id) for batch_id in batch_ids]
    for number, trigger in enumerate(triggers):
        trigger.task_instance = Task(number)
    await asyncio.gather(*(trigger.on_kill() for trigger in triggers))
    assert calls(slow_emulator, CANCEL) == 200
    # Far from one each; how many in all depends on how long it takes.
    assert len(questions) < 50
