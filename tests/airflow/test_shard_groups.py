"""Instances that take several shards: the groups, and the tasks of an attempt with a list of folders."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskDeferred
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.operators import GreenNodeCollectResultsOperator, GreenNodeSubmitBatchOperator
from greennode_airflow.runtime.shard_groups import group_size, name_of, shard_groups, shards_in
from greennode_airflow.sensors import GreenNodeBatchSensor
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.errors import UnfinishedError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, ShardFolder, run_folder
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.split import parts_of
from greennode_emulator.server import RunningEmulator


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 90) | st.integers(200, 3_000), limit=st.integers(1, 20) | st.just(1_024))
def test_every_shard_is_in_one_group_in_its_order_and_there_are_no_more_groups_than_airflow_can_handle(
    count: int, limit: int
) -> None:
    run = RunFolder(UPath("/staging/dag/run"))
    shards = [run.shard(f"{number:04}") for number in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", str(limit))
        groups = shard_groups(shards)
        assert shard_groups(shards) == groups
    assert [str(shard) for group in groups for shard in shards_in(group)] == [str(shard) for shard in shards]
    # A scheduler is slow with a thousand instances: so many only where each shard has its own.
    assert len(groups) <= (limit if count <= limit else min(limit, 50))
    assert all(isinstance(group, str) for group in groups) is (count <= limit)
    # By this the page finds the instance of a shard.
    size = group_size(count, len(groups))
    assert [len(shards_in(group)) for group in groups[:-1]] == [size] * max(0, len(groups) - 1)


MODEL = "google/gemma-4-31b-it"
STUCK = {"kind": "stuck", "status": "in_progress", "count": None}


class States(dict[str, Any]):
    """The task state store, which has no database here."""

    set = dict.__setitem__


class Task:
    """A task instance whose sensor is in this state and has this result."""

    try_number, map_index = 1, 0

    def __init__(self, wait: str = "success", result: Any = None) -> None:
        self.wait, self.result, self.pushed = wait, result, None

    def get_task_states(self, *, run_ids: list[str], task_ids: list[str], map_index: int, **_: Any) -> dict[str, Any]:
        return {run_ids[0]: {f"{task_ids[0]}_{map_index}": self.wait}}

    def xcom_pull(self, **_: Any) -> Any:
        return self.result

    def xcom_push(self, *, key: str, value: Any) -> None:
        if key == "return_value":
            self.pushed = value


class Run:
    dag_id, run_id = "dag", "run"


def a_context(task: Task | None = None) -> dict[str, Any]:
    return {"ti": task or Task(), "dag_run": Run(), "task_state_store": States()}


@pytest.fixture
def shards(tmp_path: Path) -> list[ShardFolder]:
    """Three shards of one request."""
    run = RunFolder(UPath(tmp_path / "dag" / "run"))
    made = [run.shard(f"shard-{number}") for number in range(3)]
    for number, shard in enumerate(made):
        shard.path.mkdir(parents=True)
        body = {"model": "google/gemma-4-31b-it", "messages": [{"role": "user", "content": f"row {number}"}]}
        shard.requests.write_text(json.dumps({"custom_id": f"c{number}", "body": body}) + "\n")
    return made


def paths(shards: list[ShardFolder]) -> list[str]:
    return [f"file://{shard}" for shard in shards]


def submitting(shards: list[ShardFolder]) -> GreenNodeSubmitBatchOperator:
    return GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=paths(shards))


def waiting(shards: list[ShardFolder], **options: Any) -> GreenNodeBatchSensor:
    return GreenNodeBatchSensor(task_id="wait_for_batch", shard=paths(shards), **options)


def collecting(shards: list[ShardFolder], **options: Any) -> GreenNodeCollectResultsOperator:
    return GreenNodeCollectResultsOperator(task_id="collect_results", shard=paths(shards), **options)


def all_over(batch_ids: list[str]) -> None:
    with GreenNodeHook().get_conn() as client:
        while not all(client.get_batch(batch_id).status.is_terminal for batch_id in batch_ids):
            pass


def test_each_shard_of_a_group_gets_its_batch_and_its_answers(connection: RunningEmulator, shards) -> None:
    context = a_context()
    batch_ids = submitting(shards).execute(context)
    assert batch_ids == [read_receipt(shard).batch_id for shard in shards]
    assert [note["batch_id"] for note in context["task_state_store"]["greennode"]] == batch_ids
    assert submitting(shards).execute(a_context()) == batch_ids
    all_over(batch_ids)
    ended = waiting(shards).execute(a_context())
    assert [(one["batch_id"], one["status"]) for one in ended] == [(batch_id, "COMPLETED") for batch_id in batch_ids]
    assert collecting(shards).execute(a_context()) == {"succeeded": 3}
    assert connection.ledger(summary=True)["requests_billed"] == 3


def test_a_shard_that_cannot_be_sent_keeps_none_of_its_group_from_its_answers(
    connection: RunningEmulator, shards
) -> None:
    lost = shards[1]
    lost.requests.unlink()
    with pytest.raises(AirflowFailException, match=r"requests\.jsonl"):
        submitting(shards).execute(a_context())
    good = [shards[0], shards[2]]
    batch_ids = [read_receipt(shard).batch_id for shard in good]
    all_over(batch_ids)
    task = Task()
    with pytest.raises(AirflowFailException, match="no batch was created"):
        waiting(shards).execute(a_context(task))
    assert [one["batch_id"] for one in task.pushed] == batch_ids
    with pytest.raises(AirflowFailException, match="no batch was created"):
        collecting(shards, wait_task_id="wait_for_batch").execute(a_context(Task("failed", task.pushed)))
    assert all(shard.results.exists() for shard in good)


@pytest.mark.parametrize("state", ["failed", "upstream_failed"])
def test_nothing_is_collected_of_a_wait_that_a_person_has_ended_and_all_of_one_that_is_marked_a_success(
    connection: RunningEmulator, shards, state: str
) -> None:
    all_over(submitting(shards).execute(a_context()))
    with pytest.raises(AirflowFailException, match="nothing is collected"):
        collecting(shards, wait_task_id="wait_for_batch").execute(a_context(Task(state)))
    assert not any(shard.results.exists() for shard in shards)
    marked = a_context(Task("success"))
    assert collecting(shards, wait_task_id="wait_for_batch").execute(marked) == {"succeeded": 3}


@pytest.mark.parametrize(
    ("wait", "on_kill", "is_cancelled"),
    [("success", "cancel", True), ("success", "leave", False), (None, "cancel", False)],
)
def test_a_wait_that_a_person_has_marked_as_success_has_its_batch_cancelled_and_collected(
    wait: str | None,
    on_kill: str,
    is_cancelled: bool,  # noqa: FBT001
    connection: RunningEmulator,
    shards,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its trigger may not have begun. Without a wait nobody has marked one."""
    monkeypatch.setattr("greennode_batch.collect.collect._POLL_SECONDS", 0.01)
    connection.faults([STUCK])
    submitting(shards[:1]).execute(a_context())
    collect = collecting(shards[:1], wait_task_id=wait and "wait_for_batch", on_kill=on_kill)
    if is_cancelled:
        assert collect.execute(a_context(Task(wait))) == {"cancelled": 1}
    else:
        with pytest.raises(UnfinishedError):
            collect.execute(a_context(Task(wait)))


def test_errors_of_several_shards_are_raised_together_and_retried_if_one_may_pass(
    connection: RunningEmulator, shards
) -> None:
    for shard in shards[1:]:
        shard.requests.unlink()
    with pytest.raises(AirflowFailException) as raised:
        submitting(shards).execute(a_context())
    assert "2 shards failed" in str(raised.value)
    assert all(shard.shard_id in str(raised.value) for shard in shards[1:])
    connection.faults([{"kind": "status", "endpoint": "GET /batches/{id}", "status": 401, "count": None}])
    all_errors = waiting(shards)
    with pytest.raises(ExceptionGroup):
        all_errors.execute(a_context())


def test_shards_without_a_request_are_passed_over_and_a_group_of_nothing_else_is_skipped(
    connection: RunningEmulator, shards
) -> None:
    shards[0].requests.write_text("")
    batch_ids = submitting(shards).execute(a_context())
    assert len(batch_ids) == 2
    all_over(batch_ids)
    assert len(waiting(shards).execute(a_context())) == 2
    assert collecting(shards).execute(a_context()) == {"succeeded": 2}
    for operator in (submitting(shards[:1]), waiting(shards[:1]), collecting(shards[:1])):
        with pytest.raises(AirflowSkipException):
            operator.execute(a_context())


@pytest.mark.parametrize("at", ["create", "batch"])
def test_a_shard_that_is_too_large_for_a_batch_is_split_and_its_parts_are_sent_by_the_same_task(
    emulator: RunningEmulator, set_connection: Callable[..., None], shards, tmp_path: Path, monkeypatch, at: str
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key)
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{tmp_path}")
    shard = shards[0]
    bodies = [{"model": MODEL, "messages": [{"role": "user", "content": f"row {n} " * 100}]} for n in range(4)]
    lines = [json.dumps({"custom_id": f"c{number}", "body": body}) for number, body in enumerate(bodies)]
    shard.requests.write_text("\n".join(lines) + "\n")
    # Two of the requests fit, and no more.
    emulator.faults([{"kind": "enqueued_limit", "tokens": 450, "at": at, "count": 100}])
    submit_batch = GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=f"file://{shard}")
    wait_for_batch = GreenNodeBatchSensor(task_id="wait_for_batch", shard=f"file://{shard}")
    through(submit_batch)
    ended = through(wait_for_batch)
    parts = parts_of(shard)
    assert len(parts) == 2
    assert [one["batch_id"] for one in ended] == [read_receipt(part).batch_id for part in parts]
    collect_results = GreenNodeCollectResultsOperator(task_id="collect_results", shard=f"file://{shard}")
    assert collect_results.execute(a_context()) == {"succeeded": 4}
    assert emulator.ledger(summary=True)["requests_billed"] == 4
    assert submit_batch.execute(a_context()) == [one["batch_id"] for one in ended], "a cleared task sends nothing"
    assert "and 1 more" in submit_batch.shard_name
    assert GreenNodeHook().enqueued_limits().by_model(now=time.time())[MODEL].tokens == 450


def through(operator: Any) -> Any:
    """The result of an operator, however often it defers."""
    act = partial(operator.execute, a_context())
    for _ in range(200):
        try:
            return act()
        except TaskDeferred as deferred:
            ids = getattr(deferred.trigger, "batch_ids", [])
            events = [{"batch_id": one, "reason": "deadline", "status": "IN_PROGRESS"} for one in ids]
            # As if the time had come: of a batch that has not ended, the next poll says so.
            event: Any = {"batches": events} if events else "now"
            act = partial(getattr(operator, deferred.method_name), a_context(), event)
    pytest.fail("it defers for ever")


def test_a_group_that_finds_no_room_goes_on_with_what_is_not_sent(
    emulator: RunningEmulator, set_connection: Callable[..., None], shards, tmp_path: Path, monkeypatch
) -> None:
    set_connection(host=emulator.base_url, password=emulator.api_key, extra={"max_batches_in_flight": 1})
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{tmp_path}")
    emulator.faults([STUCK])
    operator = submitting(shards)
    for sent in (1, 2):
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(a_context())
        assert deferred.value.method_name == "resume"
        batch_ids = [receipt.batch_id for receipt in map(read_receipt, shards) if receipt and receipt.batch_id]
        assert len(batch_ids) == sent
        with GreenNodeHook().get_conn() as client:
            client.cancel_batch(batch_ids[-1])
        all_over(batch_ids)
    assert len(operator.resume(a_context(), {"moment": "now"})) == 3
    assert emulator.ledger(summary=True)["batches_created"] == 3


def test_all_batches_of_a_group_are_waited_for_by_one_trigger_until_the_first_deadline(
    connection: RunningEmulator, shards
) -> None:
    connection.faults([STUCK])
    batch_ids = submitting(shards).execute(a_context())
    sensor, before = waiting(shards, deadline=timedelta(hours=1)), time.time()
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(a_context())
    trigger = deferred.value.trigger
    assert trigger.batch_ids == batch_ids
    assert "COMPLETED" in trigger.succeeds_on
    assert trigger.deadline == pytest.approx(before + 3600, abs=60)
    with GreenNodeHook().get_conn() as client:
        client.cancel_batch(batch_ids[1])
    all_over(batch_ids[1:2])
    event = {"batches": [{"batch_id": batch_ids[0], "reason": "deadline", "status": "IN_PROGRESS"}]}
    with pytest.raises(TaskDeferred) as deferred:
        sensor.resume(a_context(), event)
    trigger = deferred.value.trigger
    assert (trigger.batch_ids, trigger.succeeds_on) == ([batch_ids[0], batch_ids[2]], [])


def test_a_shard_that_the_server_has_no_room_for_is_sent_again_while_the_others_are_waited_for(
    connection: RunningEmulator, shards
) -> None:
    first, *others = shards
    connection.faults([{"kind": "failed", "code": "token_limit_exceeded"}])
    refused = submitting([first]).execute(a_context())
    all_over(refused)
    connection.faults([STUCK])
    others_ids = submitting(others).execute(a_context())
    sensor, before = waiting(shards), time.time()
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(a_context())
    trigger = deferred.value.trigger
    assert (deferred.value.method_name, trigger.batch_ids) == ("send_again", others_ids)
    assert before + 5 < trigger.deadline < before + 3600
    # Woken for another reason, it does not send before its time.
    early = {"batches": [{"batch_id": others_ids[0], "reason": "ended", "status": "COMPLETED", "missing_since": None}]}
    with pytest.raises(TaskDeferred) as deferred:
        sensor.send_again(a_context(), early)
    assert (deferred.value.method_name, read_receipt(first).batch_id) == ("send_again", None)
    # Its time has come, whatever else has come with it.
    reasons = zip(others_ids, ("ended", "deadline"), strict=True)
    due = {"batches": [{"batch_id": one, "reason": reason, "status": "IN_PROGRESS"} for one, reason in reasons]}
    with pytest.raises(TaskDeferred) as deferred:
        sensor.send_again(a_context(), due)
    sent = read_receipt(first).batch_id
    assert sent not in {None, *refused}
    assert (deferred.value.method_name, deferred.value.trigger.batch_ids) == ("resume", [sent, *others_ids])
    assert connection.ledger()["files_uploaded"] == 3


def test_an_event_that_says_nothing_of_any_batch_is_refused(shards) -> None:
    for reason in (None, "something"):
        event = {"batches": [{"batch_id": "batch_1", "reason": reason}]}
        with pytest.raises(AirflowException, match="an event that is not of"):
            waiting(shards).resume({}, event)


def test_a_group_of_one_is_a_group(connection: RunningEmulator, shards) -> None:
    (batch_id,) = submitting(shards[:1]).execute(a_context())
    all_over([batch_id])
    assert [one["batch_id"] for one in waiting(shards[:1]).execute(a_context())] == [batch_id]


def test_groups_of_all_sizes_are_told_by_how_many_instances_there_are() -> None:
    for count, limit in itertools.product(range(1, 60), range(1, 20)):
        size = group_size(count, limit)
        assert group_size(count, -(-count // size)) == size


def test_an_instance_goes_by_its_model_and_its_batch_and_by_its_shard_before_it_has_one(
    connection: RunningEmulator, tmp_path: Path
) -> None:
    run = run_folder(UPath(tmp_path), "dag", "run")
    models = ("google/gemma-4-31b-it", "openai/gpt-oss-120b")
    job = BatchJob(
        name="job", source=FileSource(path="rows"), target=FileTarget(path="answers"), key="id",
        model=models, prompt="{{ text }}", max_shard_requests=1,
    )  # fmt: skip
    rows = Rows.from_tuples(("id", "text"), [[(1, "a"), (2, "b")]])
    plan = build(job, lambda: rows, run, run_id="run", profile=ApiProfile())
    folders = [str(run.shard(one.shard_id)) for one in plan.shards]
    task = GreenNodeSubmitBatchOperator(task_id="submit", shard=folders[0])
    assert task.shard_name == f"{models[0]} shard {plan.shards[0].shard_id[:8]}"
    with GreenNodeHook().get_conn() as client:
        batch_id = submit(run.shard(plan.shards[0].shard_id), client).batch_id
    assert task.shard_name == f"{models[0]} {batch_id}"
    wait = GreenNodeBatchSensor(task_id="wait", shard=folders)
    assert wait.shard_name == f"{models[0]} {batch_id} and 3 more"


@pytest.mark.parametrize("group", [[], "", "/nowhere/at/all", ["s3://nowhere@no-bucket/x"]])
def test_no_task_fails_for_the_lack_of_a_name(group: Any) -> None:
    assert isinstance(name_of(group), str)
