"""A run whose results nobody has read before: its other shards wait for those of its pilot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from upath import UPath

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.operators import GreenNodeSubmitBatchOperator
from greennode_airflow.triggers import GreenNodeBatchTrigger, GreenNodePauseTrigger
from greennode_batch.api.profile import ApiProfile
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.stops import stops_of
from greennode_emulator.server import RunningEmulator

JOB = BatchJob(
    name="job",
    source=FileSource(path="/rows.parquet"),
    target=FileTarget(path="/answers"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ text }}",
    max_shard_requests=3,
)


class States(dict[str, Any]):
    """The task state store, which has no database here."""

    set = dict.__setitem__


class Task:
    """A task instance in a run whose other tasks are in this state."""

    try_number, map_index = 1, 1
    state: str | None = None

    def get_task_states(self, *, run_ids: list[str], **_: Any) -> dict[str, dict[str, Any]]:
        return {run_ids[0]: {"submit_batch_0": self.state}}


class DagRun:
    dag_id, run_id = "job", "run"


def a_context(state: str | None = None) -> dict[str, Any]:
    task = Task()
    task.state = state
    return {"ti": task, "dag_run": DagRun(), "task_state_store": States(), "params": {}}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """The run of a job of a pilot of 2 requests and two shards of 3."""
    run = run_folder(UPath(tmp_path / "staging"), "job", "run")

    def rows() -> Rows:
        return Rows.from_tuples(("id", "text"), iter([[(n, f"text {n}") for n in range(8)]]))

    plan = build(JOB, rows, run, run_id="run", profile=ApiProfile(), pilot_requests=2)
    assert [shard.requests for shard in plan.shards] == [2, 3, 3]
    assert plan.pilot == plan.shards[0].shard_id
    return run, [run.shard(shard.shard_id) for shard in plan.shards]


def operator_of(shard: Any) -> GreenNodeSubmitBatchOperator:
    return GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=shard, job=JOB)


def end_of(batch_id: str | None) -> None:
    with GreenNodeHook().get_conn() as client:
        while not client.get_batch(batch_id or "").status.is_terminal:
            pass


def deferred(operator: GreenNodeSubmitBatchOperator, context: dict[str, Any]) -> Any:
    with pytest.raises(TaskDeferred) as raised:
        operator.execute(context)
    assert raised.value.method_name == "resume"
    return raised.value.trigger


def test_the_others_are_sent_once_one_of_them_has_read_the_pilots_results(
    emulator: RunningEmulator, set_connection: Callable[..., None], run: Any
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key)
    emulator.faults([{"kind": "stuck", "status": "in_progress", "seconds": 1}])
    _, (pilot, second, third) = run
    assert isinstance(deferred(operator_of(str(second)), a_context()), GreenNodePauseTrigger)
    batch_id = operator_of(str(pilot)).execute(a_context())
    trigger = deferred(operator_of(str(second)), a_context())
    assert isinstance(trigger, GreenNodeBatchTrigger)
    assert (trigger.batch_id, trigger.when_killed, trigger.succeeds_on) == (batch_id, "leave", [])
    assert emulator.ledger()["batches_created"] == 1
    end_of(batch_id)
    # The pilot's own collect_results need not have run: in `dag.test` it would come later.
    assert operator_of(str(second)).resume(a_context(), {"reason": "ended"}) != batch_id
    assert read_receipt(pilot).state == "collected"
    assert operator_of(str(third)).execute(a_context())
    assert emulator.ledger()["batches_created"] == 3


def test_a_group_of_shards_sends_its_pilot_first(
    emulator: RunningEmulator, set_connection: Callable[..., None], run: Any
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key)
    emulator.faults([{"kind": "stuck", "status": "in_progress", "seconds": 1}])
    _, shards = run
    operator = operator_of([str(shard) for shard in shards])
    deferred(operator, a_context())
    assert emulator.ledger()["batches_created"] == 1
    end_of(read_receipt(shards[0]).batch_id)
    assert len(operator.resume(a_context())) == 3


def test_results_of_a_pilot_that_cannot_be_read_stop_the_run_before_its_second_shard(
    emulator: RunningEmulator, set_connection: Callable[..., None], run: Any
) -> None:
    wrong = {"content_path": "/files/{file_id}"}
    set_connection(host=emulator.base_url, password=emulator.api_key, extra=wrong)
    folder, (pilot, second, _) = run
    end_of(operator_of(str(pilot)).execute(a_context()))
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="content_path"):
            operator_of(str(second)).execute(a_context())
    ledger = emulator.ledger()
    assert (ledger["batches_created"], ledger["requests_billed"]) == (1, 2)
    assert [stop.kind for stop in stops_of(folder)] == ["unread_results"]
    # With the right profile the same results are read, and the others follow.
    set_connection(host=emulator.base_url, password=emulator.api_key)
    assert operator_of(str(second)).execute(a_context())
    assert emulator.ledger()["batches_created"] == 2


@pytest.mark.parametrize(("state", "created"), [(None, 1), ("scheduled", 1), ("queued", 0), ("running", 0)])
def test_where_the_pilots_own_task_gets_no_slot_the_others_send_it_once_they_have_waited(
    state: str | None, created: int, emulator: RunningEmulator, set_connection: Callable[..., None], run: Any
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key)
    emulator.faults([{"kind": "stuck", "status": "in_progress", "seconds": 1}])
    _, (pilot, second, _) = run
    operator = operator_of(str(second))
    deferred(operator, a_context(state))
    with pytest.raises(TaskDeferred):
        operator.resume(a_context(state))
    assert emulator.ledger()["batches_created"] == created
    assert (read_receipt(pilot) is not None) == bool(created)


@pytest.mark.parametrize("state", ["failed", "upstream_failed", "skipped"])
def test_where_the_pilot_is_not_sent_the_others_do_not_wait_for_ever(
    state: str, emulator: RunningEmulator, set_connection: Callable[..., None], run: Any
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key)
    _, (_, second, _) = run
    with pytest.raises(AirflowFailException, match=f"map index 0 is {state}, which sends the pilot"):
        operator_of(str(second)).execute(a_context(state))
