"""A job that is answered live: the same tasks, without a batch."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

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
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import ShardFolder, run_folder
from greennode_batch.state.receipts import read_receipt
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
    # Two hours, less the tenth that a cancel may take, and less the live answers.
    assert 6000 < deferred.value.trigger.deadline - receipt.created_at < 6480
