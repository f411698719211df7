from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from upath import UPath

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.sensors import GreenNodeBatchSensor
from greennode_airflow.triggers import GreenNodeBatchTrigger
from greennode_batch.batches.submit import submit
from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import read_receipt
from greennode_emulator.server import RunningEmulator

MakeBatch = Callable[[], str]


def wait_for(batch_id: str) -> None:
    with GreenNodeHook().get_conn() as client:
        while not client.get_batch(batch_id).status.is_terminal:
            pass


def a_sensor(batch_id: str, **options: object) -> GreenNodeBatchSensor:
    return GreenNodeBatchSensor(task_id="wait", batch_id=batch_id, **options)


def test_a_batch_that_has_ended_is_not_waited_for(connection: RunningEmulator, make_batch: MakeBatch) -> None:
    batch_id = make_batch()
    wait_for(batch_id)
    assert a_sensor(batch_id).execute({}) == {"batch_id": batch_id, "status": "COMPLETED", "reason": "ended"}


def test_a_batch_that_runs_is_waited_for_in_the_triggerer_until_after_the_window(
    slow_emulator: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_id = make_batch()
    with pytest.raises(TaskDeferred) as deferred:
        a_sensor(batch_id).execute({})
    trigger = deferred.value.trigger
    assert isinstance(trigger, GreenNodeBatchTrigger)
    with GreenNodeHook().get_conn() as client:
        created_at = client.get_batch(batch_id).created_at
    assert trigger.deadline == pytest.approx(created_at + 26 * 3600, abs=1), "counted from the batch, not from a retry"


def test_a_batch_that_cannot_be_looked_at_right_now_is_waited_for_all_the_same(connection: RunningEmulator) -> None:
    with pytest.raises(TaskDeferred):
        a_sensor("batch_that_does_not_show_yet").execute({})


def test_a_batch_that_is_gone_on_over_the_deadline_fails_and_says_that_nothing_is_lost(connection) -> None:
    with pytest.raises(AirflowException, match="Nothing is lost"):
        a_sensor("batch_1").resume({}, {"batch_id": "batch_1", "reason": "deadline", "status": "IN_PROGRESS"})


@pytest.mark.parametrize(
    "event",
    [
        {"batch_id": "batch_2", "reason": "ended", "status": "COMPLETED"},
        {"batch_id": "batch_1", "reason": "something", "status": "COMPLETED"},
        {},
    ],
)
def test_an_event_that_is_not_of_this_batch_is_refused(event: dict[str, str]) -> None:
    with pytest.raises(AirflowException, match="an event that is not of"):
        a_sensor("batch_1").resume({}, event)


@pytest.mark.parametrize("status", ["FAILED", "EXPIRED", "CANCELLED"])
def test_a_bad_end_of_a_batch_fails_the_task(status: str) -> None:
    event = {"batch_id": "batch_1", "reason": "ended", "status": status}
    with pytest.raises(AirflowException, match=status):
        a_sensor("batch_1").resume({}, event)


def test_a_sensor_is_given_a_batch_or_a_shard_and_not_both() -> None:
    for arguments in ({}, {"batch_id": "batch_1", "shard": "/shard"}):
        with pytest.raises(ConfigError, match="give either batch_id= or shard="):
            GreenNodeBatchSensor(task_id="wait", **arguments)


@pytest.fixture
def shard(tmp_path: Path) -> ShardFolder:
    """A shard of one request, in a folder of its own."""
    folder = ShardFolder(UPath(tmp_path / "a-shard"))
    folder.path.mkdir()
    body = {"model": "google/gemma-4-31b-it", "messages": [{"role": "user", "content": "hi"}]}
    folder.requests.write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
    return folder


class Stored(dict[str, object]):
    """A task's state store."""

    set = dict.__setitem__


def a_context() -> dict[str, Stored]:
    return {"task_state_store": Stored()}


def of_shard(shard: ShardFolder, **options: object) -> GreenNodeBatchSensor:
    return GreenNodeBatchSensor(task_id="wait", shard=f"file://{shard.path}", **options)


def submitted(shard: ShardFolder) -> str:
    with GreenNodeHook().get_conn() as client:
        return submit(shard, client).batch_id


def test_a_shards_batch_that_is_late_is_cancelled_and_its_end_is_waited_for(
    connection: RunningEmulator, shard: ShardFolder
) -> None:
    connection.faults([{"kind": "stuck", "status": "validating"}])
    batch_id = submitted(shard)
    sensor = of_shard(shard, deadline=timedelta(seconds=-1))
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(a_context())
    assert deferred.value.trigger.deadline > time.time() + 1000, "it has the time to end"
    wait_for(batch_id)
    event = {"batch_id": batch_id, "reason": "ended", "status": "CANCELLED"}
    assert sensor.resume({}, event) == {"batch_id": batch_id, "status": "CANCELLED", "reason": "ended"}


def test_a_shard_that_the_server_has_no_room_for_is_sent_again_later_as_another_batch(
    connection: RunningEmulator, shard: ShardFolder
) -> None:
    connection.faults([{"kind": "failed", "code": "token_limit_exceeded"}])
    refused = submitted(shard)
    wait_for(refused)
    sensor, before = of_shard(shard), time.time()
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(a_context())
    assert deferred.value.method_name == "send_again"
    assert deferred.value.trigger.moment > before + 5
    # It waits for the new batch, unless that has ended already.
    context = a_context()
    with contextlib.suppress(TaskDeferred):
        sensor.send_again(context)
    receipt = read_receipt(shard)
    assert receipt.batch_id not in {None, refused}
    assert context["task_state_store"]["greennode"] == {
        "attempt": 1,
        "shard": shard.shard_id,
        "file_id": receipt.file_id,
        "batch_id": receipt.batch_id,
    }
    assert connection.ledger()["files_uploaded"] == 1


def test_a_batch_that_the_server_has_forgotten_ends_the_wait(connection: RunningEmulator, shard: ShardFolder) -> None:
    connection.faults([{"kind": "forgotten"}])
    batch_id = submitted(shard)
    sensor = of_shard(shard)
    with pytest.raises(TaskDeferred):
        sensor.execute(a_context())
    event = {"batch_id": batch_id, "reason": "forgotten", "status": "UNKNOWN", "missing_since": time.time() - 2000}
    assert sensor.resume({}, event)["reason"] == "forgotten"


def test_what_the_trigger_has_ended_may_be_resumed_all_the_same_as_dag_test_does(
    connection: RunningEmulator, make_batch: MakeBatch
) -> None:
    batch_id = make_batch()
    wait_for(batch_id)
    assert a_sensor(batch_id).resume({}, "success") == {"batch_id": batch_id, "status": "COMPLETED", "reason": "ended"}


def test_a_shards_wait_may_end_in_the_triggerer_unless_something_is_left_for_a_worker(
    slow_emulator: RunningEmulator, shard: ShardFolder
) -> None:
    submitted(shard)
    for options, ends in (
        ({}, {"COMPLETED", "FAILED", "EXPIRED", "CANCELLED"}),
        ({"on_success_callback": print}, set()),
    ):
        with pytest.raises(TaskDeferred) as deferred:
            of_shard(shard, **options).execute(a_context())
        assert set(deferred.value.trigger.succeeds_on) == ends
