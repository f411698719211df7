from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.sensors import GreenNodeBatchSensor
from greennode_airflow.triggers import GreenNodeBatchTrigger
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
    assert a_sensor(batch_id).execute({}) == {"batch_id": batch_id, "status": "COMPLETED"}


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


def test_a_deadline_that_has_passed_already_is_left_to_the_trigger_to_cancel(
    slow_emulator: RunningEmulator, make_batch: MakeBatch
) -> None:
    late = a_sensor(make_batch(), deadline=timedelta(seconds=-1), cancel_at_deadline=True)
    with pytest.raises(TaskDeferred) as deferred:
        late.execute({})
    assert deferred.value.trigger.cancel_at_deadline


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
    with pytest.raises(AirflowException, match="not of batch batch_1"):
        a_sensor("batch_1").resume({}, event)


@pytest.mark.parametrize("status", ["FAILED", "EXPIRED", "CANCELLED"])
def test_a_bad_end_fails_the_task_unless_any_end_is_accepted(status: str) -> None:
    event = {"batch_id": "batch_1", "reason": "ended", "status": status}
    with pytest.raises(AirflowException, match=status):
        a_sensor("batch_1").resume({}, event)
    assert a_sensor("batch_1", accept_any_end=True).resume({}, event) == {"batch_id": "batch_1", "status": status}
