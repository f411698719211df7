"""A job that is answered live: the same tasks, without a batch."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from airflow.sdk.exceptions import TaskDeferred
from upath import UPath

from greennode_airflow.operators import GreenNodeCollectResultsOperator, GreenNodeSubmitBatchOperator
from greennode_airflow.sensors import GreenNodeBatchSensor
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import RetryableError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import ShardFolder, run_folder, write_json
from greennode_batch.state.attempts import attempt_shards
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import read_receipt, write_receipt
from greennode_emulator.chat_latency import Latency
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import Settings

JOB = BatchJob(
    name="job",
    source=FileSource(path="/rows.parquet"),
    target=FileTarget(path="/answers"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ text }}",
    live=Live(only=True),
)


class States(dict[str, Any]):
    """The task state store, which has no database here."""

    set = dict.__setitem__


class Task:
    """A task instance."""

    try_number, map_index = 1, 0


class DagRun:
    dag_id, run_id = "job", "run"


def a_context(**params: Any) -> dict[str, Any]:
    return {"ti": Task(), "dag_run": DagRun(), "task_state_store": States(), "params": params}


def a_shard(tmp_path: Path, job: BatchJob = JOB, rows: int = 8, **options: Any) -> ShardFolder:
    run = run_folder(UPath(tmp_path / "staging"), "job", "run")

    def source() -> Rows:
        return Rows.from_tuples(("id", "text"), iter([[(n, f"text {n}") for n in range(rows)]]))

    plan = build(job, source, run, run_id="run", profile=ApiProfile(), **options)
    return run.shard(plan.shards[0].shard_id)


def test_the_tasks_of_a_live_job_answer_its_shard_without_a_batch(connection: RunningEmulator, tmp_path: Path) -> None:
    shard = a_shard(tmp_path)
    submit = GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(shard), job=JOB)
    assert submit.execute(a_context()) == "live"
    wait = GreenNodeBatchSensor(task_id="wait_for_batch", shard=str(shard), job=JOB)
    assert wait.execute(a_context()) == {"batch_id": "live", "status": "COMPLETED", "reason": "ended"}
    collect = GreenNodeCollectResultsOperator(task_id="collect_results", shard=str(shard))
    assert collect.execute(a_context()) == {"succeeded": 8}
    ledger = connection.ledger()
    assert (ledger["batches_created"], ledger["chat_requests_billed"]) == (0, 8)


def test_a_run_may_be_triggered_live(connection: RunningEmulator, tmp_path: Path) -> None:
    job = dataclasses.replace(JOB, live=None)
    shard = a_shard(tmp_path, job)
    submit = GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(shard), job=job)
    assert submit.execute(a_context(mode="live")) == "live"
    assert connection.ledger()["batches_created"] == 0


def test_a_worker_that_is_stopped_saves_what_came(set_connection: Callable[..., None], tmp_path: Path) -> None:
    with running(Settings(chat_latency=Latency(0.3))) as emulator:
        set_connection(host=emulator.base_url, password=emulator.api_key, extra={"max_concurrency": 2})
        shard = a_shard(tmp_path)
        submit = GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(shard), job=JOB)
        threading.Timer(0.8, submit.on_kill).start()
        with pytest.raises(RetryableError, match="answers are saved"):
            submit.execute(a_context())
        before = emulator.ledger()["chat_requests_billed"]
        again = GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(shard), job=JOB)
        assert again.execute(a_context()) == "live"
        assert 0 < before < 8
        assert emulator.ledger()["chat_requests_billed"] <= 8 + 2
    receipt = read_receipt(shard)
    assert receipt is not None
    assert receipt.live is not None
    assert receipt.live.answered == 8


def test_a_wait_ends_early_enough_for_live_answers(connection: RunningEmulator, tmp_path: Path) -> None:
    connection.faults([{"kind": "stuck", "status": "in_progress", "seconds": None}])
    job = dataclasses.replace(JOB, live=Live(finish_by=timedelta(hours=2)))
    shard = a_shard(tmp_path, job)
    GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(shard), job=job).execute(a_context())
    wait = GreenNodeBatchSensor(task_id="wait_for_batch", shard=str(shard), job=job)
    with pytest.raises(TaskDeferred) as deferred:
        wait.execute(a_context())
    receipt = read_receipt(shard)
    assert receipt is not None
    assert receipt.created_at is not None
    # Two hours, less the tenth that a cancel may take, eight starts of tasks, and the live answers.
    assert 6000 < deferred.value.trigger.deadline - receipt.created_at < 6480 - 8 * 15


FINISH_BY = dataclasses.replace(JOB, live=Live(finish_by=timedelta(hours=6)))
HALF_DONE = {"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5}


def half_done(emulator: RunningEmulator) -> None:
    """Wait until half of the batch's eight requests are answered."""
    while emulator.ledger()["requests_billed"] < 4:
        time.sleep(0.02)


def after(shard: ShardFolder, hours: float) -> None:
    """Make the run as old as that."""
    plan = read_plan(shard.run)
    assert plan is not None
    write_json(shard.run.plan, msgspec.structs.replace(plan, created_at=time.time() - 3600 * hours))


def waited(shard: ShardFolder) -> Any:
    """What the wait comes to, where the trigger fires at once."""
    wait = GreenNodeBatchSensor(task_id="wait_for_batch", shard=str(shard), job=FINISH_BY)
    for _ in range(100):
        with suppress(TaskDeferred):
            return wait.execute(a_context())
    pytest.fail("the batch is waited for after its time")


def sent_again(shard: ShardFolder) -> list[ShardFolder]:
    """Collect a shard, and send what is worth a second attempt."""
    GreenNodeCollectResultsOperator(task_id="collect_results", shard=str(shard)).execute(a_context())
    plan = read_plan(shard.run)
    assert plan is not None
    build_retry(FINISH_BY, shard.run, plan, attempt=2, profile=ApiProfile())
    again = attempt_shards(shard.run, plan, 2)
    for one in again:
        submit = GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(one), job=FINISH_BY)
        assert submit.execute(a_context()) == "live"
        GreenNodeCollectResultsOperator(task_id="collect_results", shard=str(one)).execute(a_context())
    return again


def test_a_batch_that_never_ends_is_cancelled_in_time_and_its_other_rows_are_answered_live(
    connection: RunningEmulator, tmp_path: Path
) -> None:
    connection.faults([HALF_DONE])
    shard = a_shard(tmp_path, FINISH_BY)
    GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(shard), job=FINISH_BY).execute(a_context())
    half_done(connection)
    after(shard, 5.75)
    assert waited(shard)["status"] == "CANCELLED"
    (again,) = sent_again(shard)
    ledger = connection.ledger()
    # Each finished answer of the batch is kept, and no request is paid for twice.
    in_batch = ledger["requests_billed"]
    assert 0 < in_batch < 8
    assert ledger["chat_requests_billed"] == 8 - in_batch
    assert not set(ledger["requests"]) & set(ledger["chat_requests"])
    first, second = read_receipt(shard), read_receipt(again)
    assert first is not None
    assert second is not None
    assert (first.statuses["succeeded"], second.statuses) == (in_batch, {"succeeded": 8 - in_batch})
    assert first.prompt_tokens == ledger["prompt_tokens"]
    assert second.prompt_tokens == ledger["chat_prompt_tokens"]
    assert second.completion_tokens == ledger["chat_completion_tokens"]


def test_the_rows_of_a_batch_that_cannot_be_cancelled_are_never_answered_live_as_well(
    connection: RunningEmulator, tmp_path: Path
) -> None:
    cancel = {"kind": "status", "endpoint": "POST /batches/{id}/cancel", "status": 400, "count": None}
    connection.faults([HALF_DONE, cancel])
    shard = a_shard(tmp_path, FINISH_BY)
    GreenNodeSubmitBatchOperator(task_id="submit_batch", shard=str(shard), job=FINISH_BY).execute(a_context())
    half_done(connection)
    after(shard, 5.75)
    wait = GreenNodeBatchSensor(task_id="wait_for_batch", shard=str(shard), job=FINISH_BY)
    with pytest.raises(TaskDeferred):
        wait.execute(a_context())
    cancelled = read_receipt(shard)
    assert cancelled is not None
    assert cancelled.cancelled_at is not None
    after(shard, 5.999)
    write_receipt(shard, msgspec.structs.replace(cancelled, cancelled_at=cancelled.cancelled_at - 900))
    assert waited(shard)["reason"] == "overdue"
    assert sent_again(shard) == []
    receipt = read_receipt(shard)
    assert receipt is not None
    assert receipt.statuses == {"expired": 8}
    assert connection.ledger()["chat_requests_billed"] == 0
