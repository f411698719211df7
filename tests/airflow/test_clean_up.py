from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.operators import GreenNodeCleanUpOperator
from greennode_airflow.runtime.runs import run_of
from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import write_json
from greennode_batch.state.joined_shard import JoinedShard
from greennode_batch.state.run_report import RunReport
from greennode_emulator.server import RunningEmulator

SetConnection = Callable[..., None]


def a_job(**changes: Any) -> BatchJob:
    return BatchJob(
        name="job",
        source=SqlSource(conn_id="warehouse", sql="SELECT 1"),
        target=SqlTarget(conn_id="warehouse", table="answers"),
        key="id",
        model="google/gemma-4-31b-it",
        prompt="{{ text }}",
        **changes,
    )


def context_of(**params: bool) -> dict[str, Any]:
    return {"dag_run": SimpleNamespace(dag_id="tickets", run_id="manual__1"), "params": params}


@pytest.fixture
def finished(connection: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the files of a run that is over: one shard, answered, joined and accounted for."""
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{tmp_path}/staging")

    def make(prefix: str = "") -> None:
        run = run_of(context_of(), prefix)
        with GreenNodeHook().get_conn() as client:
            rows = Rows.from_tuples(("id", "text"), iter([[(1, "one")]]))
            plan = build(a_job(), lambda: rows, run, run_id="manual__1", profile=client.profile)
            shard = run.shard(plan.shards[0].shard_id)
            receipt = submit(shard, client)
            while not client.get_batch(receipt.batch_id).status.is_terminal:
                pass
            collect_shard(shard, client, None)
        write_json(shard.joined, JoinedShard(rows=1, statuses={"succeeded": 1}, fingerprint=""))
        write_json(
            run.report, RunReport("job", "manual__1", 1, 1, 1, {"succeeded": 1}, 0, 0, started_at=plan.created_at)
        )

    return make


def remove_remote_files(job: BatchJob, **params: bool) -> None:
    GreenNodeCleanUpOperator(task_id="clean_up", job=job).execute(context_of(**params))


def test_files_are_deleted_unless_somebody_says_otherwise(
    finished: Callable[..., None], connection: RunningEmulator, capfd: pytest.CaptureFixture[str]
) -> None:
    finished()
    remove_remote_files(a_job())
    assert connection.ledger()["files_deleted"] == 2
    assert "Files of the run deleted at GreenNode: 2" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("of_connection", "of_job", "deleted"),
    [(True, None, 0), ("true", None, 0), ("false", None, 2), (None, None, 2), (True, False, 2), (False, True, 0)],
)
def test_the_job_decides_and_where_it_does_not_the_connection_does(
    finished: Callable[..., None],
    connection: RunningEmulator,
    set_connection: SetConnection,
    of_connection: object,
    of_job: bool | None,  # noqa: FBT001
    deleted: int,
) -> None:
    finished()
    set_connection(host=connection.base_url, password=connection.api_key, extra={"keep_remote_files": of_connection})
    remove_remote_files(a_job(keep_remote_files=of_job))
    assert connection.ledger()["files_deleted"] == deleted


def test_a_dry_run_has_nothing_to_clean_up(finished: Callable[..., None], connection: RunningEmulator) -> None:
    finished()
    with pytest.raises(AirflowSkipException, match="dry run"):
        remove_remote_files(a_job(), dry_run=True)
    assert connection.ledger()["files_deleted"] == 0


def test_in_a_task_group_it_cleans_up_that_groups_pipeline(
    finished: Callable[..., None], connection: RunningEmulator
) -> None:
    finished("ask")
    remove_remote_files(a_job())  # of the pipeline that has no group
    assert connection.ledger()["files_deleted"] == 0
    GreenNodeCleanUpOperator(task_id="ask.clean_up", job=a_job()).execute(context_of())
    assert connection.ledger()["files_deleted"] == 2
