"""What `report` and `clean_up` make of the states of a run's tasks, in a real DAG and with Airflow's words for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from greennode_airflow.hooks import GreenNodeHook
from greennode_airflow.pipeline import batch_table_group
from greennode_airflow.runtime.runs import run_of
from greennode_batch.api.wire import BatchStatus
from greennode_batch.batches.submit import submit
from greennode_batch.errors import RetryableError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, write_json
from greennode_batch.state.plan import LongestRequest, Plan
from greennode_batch.state.run_report import RunReport
from greennode_emulator.server import RunningEmulator

JOB = BatchJob(
    name="ask",
    source=SqlSource(conn_id="warehouse", sql="SELECT 1"),
    target=SqlTarget(conn_id="warehouse", table="answers"),
    key="id",
    model="google/gemma-4-31b-it",
    prompt="{{ text }}",
    partitions=2,
    budget=Budget(approve_over=1.0),
    conn_id="nowhere",
)
REACHABLE = dataclasses.replace(JOB, conn_id="greennode_default")
ALL_WELL = {
    "before": "success",
    "ask.read_part_0": "success",
    "ask.read_part_1": "success",
    "ask.build_requests": "success",
    "ask.approve_spend": "success",
    "ask.report": "success",
}
# As Airflow leaves a run that was ended in mid-wait, and a pipeline that was not begun.
MARKED = {**ALL_WELL, "ask.report": "skipped"}
NOT_BEGUN = {**dict.fromkeys(ALL_WELL, "skipped"), "before": "success"}


class Task:
    """The task instance, as far as the operators know it; states and XComs are what Airflow answers."""

    def __init__(self, states: dict[str, str | None], xcoms: dict[str, Any] | None = None, try_number: int = 6) -> None:
        self._states, self._xcoms = states, xcoms or {}
        self.try_number, self.max_tries = try_number, 5

    def get_task_states(self, *, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        assert (dag_id, run_ids) == ("own", ["r1"])
        requested = {
            name: state
            for name, state in self._states.items()
            if name in task_ids or name.rpartition("_")[0] in task_ids
        }
        return {"r1": requested}

    def xcom_pull(self, *, task_ids: str | list[str], key: str) -> Any:
        if isinstance(task_ids, str):
            return self._xcoms.get(f"{task_ids}.{key}")
        return [self._xcoms.get(f"{task_id}.{key}") for task_id in task_ids]


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("AIRFLOW__GREENNODE__STAGING", f"file://{tmp_path}/staging")
    return run_of(context_of(Task({})), "ask")


def context_of(task: Task, *, clear_number: int = 0, **params: bool) -> dict[str, Any]:
    run = SimpleNamespace(dag_id="own", run_id="r1", clear_number=clear_number)
    return {"dag_run": run, "params": params, "ti": task}


def execute(task_id: str, task: Task, *, job: BatchJob = JOB, clear_number: int = 0, **params: bool) -> None:
    with DAG("own", schedule=None) as dag:
        EmptyOperator(task_id="before") >> batch_table_group(job)
    dag.get_task(f"ask.{task_id}").execute(context_of(task, clear_number=clear_number, **params))


def built(run: RunFolder, *, created_at: float = 1.0) -> None:
    longest = LongestRequest(bytes=1, row="1")
    write_json(run.plan, Plan("ask", "r1", created_at, ("id",), ("m",), 0, 0, 0, 0, longest, "", ()))


def reported(run: RunFolder, *, balanced: bool = True) -> None:
    write_json(run.report, RunReport("ask", "r1", 0, 0, 0, {}, 0, 0, balanced=balanced, started_at=1.0))


def test_an_outage_while_it_cleans_up_is_tried_again_and_fails_no_good_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_hook: GreenNodeHook) -> None:
        raise OSError("the secrets backend does not answer")

    monkeypatch.setattr(GreenNodeHook, "get_conn", fail)
    built(run)
    reported(run)
    with pytest.raises(OSError, match="secrets backend"):
        execute("clean_up", Task(ALL_WELL, try_number=5))
    execute("clean_up", Task(ALL_WELL, try_number=6))


def test_a_connection_that_was_deleted_meanwhile_fails_no_good_run(run: RunFolder) -> None:
    built(run)
    reported(run)
    execute("clean_up", Task(ALL_WELL, try_number=1))


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (MARKED, r"ask\.report is skipped, .* Clear ask\.attempt_1\.submit_batch of this run with all that is down"),
        ({**ALL_WELL, "ask.report": None}, r"ask\.report is not run, .* Clear ask\.attempt_1\.submit_batch "),
        ({**ALL_WELL, "ask.report": "failed"}, r"ask\.report failed, and with it the run; its log says why"),
        ({**MARKED, "ask.approve_spend": "skipped"}, r"Clear ask\.approve_spend of this run"),
        ({**MARKED, "ask.build_requests": "failed"}, r"Clear ask\.build_requests of this run"),
        ({**MARKED, "ask.read_part_1": "failed"}, r"Clear ask\.read_part of this run"),
        (NOT_BEGUN, r"Clear ask\.read_part of this run"),
        ({**NOT_BEGUN, "before": "failed"}, r"Clear ask\.read_part of this run"),
    ],
)
def test_a_run_whose_report_did_not_find_its_rows_is_failed_and_told_which_clear_ends_it_well(
    states: dict[str, str | None], words: str
) -> None:
    with pytest.raises(AirflowFailException, match=words):
        execute("clean_up", Task(states))


@pytest.mark.parametrize("balanced", [False, True])
def test_a_report_that_was_marked_as_success_does_not_stand_for_rows_that_are_not_there(
    run: RunFolder,
    balanced: bool,  # noqa: FBT001
) -> None:
    built(run, created_at=2.0 if balanced else 1.0)
    reported(run, balanced=balanced)
    with pytest.raises(AirflowFailException, match="clear report of this run"):
        execute("clean_up", Task(ALL_WELL))


def test_a_good_run_whose_staging_is_gone_stays_good() -> None:
    execute("clean_up", Task(ALL_WELL))


@pytest.mark.parametrize(
    ("states", "xcoms"),
    [
        (NOT_BEGUN, {"before.skipmixin_key": {"followed": ["another"]}}),
        (NOT_BEGUN, {"before.skipmixin_key": {"skipped": ["ask.read_part"]}}),
        ({**NOT_BEGUN, "before": "skipped"}, {}),
    ],
)
@pytest.mark.parametrize("task_id", ["report", "clean_up"])
def test_a_pipeline_that_its_dag_leaves_out_is_skipped(
    task_id: str, states: dict[str, str | None], xcoms: dict[str, Any]
) -> None:
    with pytest.raises(AirflowSkipException, match="skipped this pipeline"):
        execute(task_id, Task(states, xcoms))


@pytest.mark.parametrize("task_id", ["report", "clean_up"])
def test_a_dry_run_is_as_good_as_its_build(task_id: str) -> None:
    with pytest.raises(AirflowSkipException, match="a dry run sends nothing"):
        execute(task_id, Task({**ALL_WELL, "ask.report": "skipped"}), dry_run=True)
    with pytest.raises(AirflowFailException, match=r"build_requests is failed in this try"):
        execute(task_id, Task({**ALL_WELL, "ask.build_requests": "failed"}), dry_run=True)


@pytest.mark.parametrize("state", ["failed", "upstream_failed", "running"])
def test_the_plan_of_an_earlier_try_is_not_reported_for_one_that_was_not_built(run: RunFolder, state: str) -> None:
    built(run)
    with pytest.raises(AirflowFailException, match=rf"build_requests is {state} in this try.* Clear ask\.build_req"):
        execute("report", Task({**ALL_WELL, "ask.build_requests": state}))


@pytest.mark.parametrize("task_id", ["report", "clean_up"])
def test_what_the_build_failed_with_is_said_where_there_is_nothing_to_report(task_id: str) -> None:
    why = {"kind": "ConfigError", "error": "the source has no column x; take another"}
    states = {**ALL_WELL, "ask.build_requests": "failed", "ask.report": "failed"}
    xcoms = {"ask.build_requests.greennode_failure": why, "ask.report.greennode_failure": why}
    with pytest.raises(AirflowFailException, match="the source has no column x; take another"):
        execute(task_id, Task(states, xcoms))


WAIT, LATER_WAIT = "ask.attempt_1.wait_for_batch_0", "ask.attempt_2.wait_for_batch"
NEVER_MAPPED = {LATER_WAIT: "skipped"}
WAIT_FAILED = {f"{WAIT.removesuffix('_0')}.greennode_failure": {"error": "the server is down"}}


@pytest.fixture
def batch_id(run: RunFolder, slow_emulator: RunningEmulator) -> str:
    """The batch of a run with a single shard, which does not end by itself."""
    with GreenNodeHook().get_conn() as client:
        rows = Rows.from_tuples(("id", "text"), iter([[(1, "one")]]))
        plan = build(JOB, lambda: rows, run, run_id="r1", profile=client.profile)
        batch_id = submit(run.shard(plan.shards[0].shard_id), client).batch_id
    assert batch_id is not None
    return batch_id


@pytest.mark.parametrize(
    ("states", "is_cancelled"),
    [
        pytest.param({**MARKED, WAIT: "failed"}, True, id="run marked while it waits"),
        pytest.param({**MARKED, WAIT: "skipped"}, True, id="run marked before it waits"),
        pytest.param({**ALL_WELL, WAIT: "success"}, True, id="run marked as success on Airflow 3.2"),
        pytest.param({**ALL_WELL, "ask.report": "failed", WAIT: "failed"}, False, id="wait failed in an outage"),
        pytest.param({**MARKED, WAIT: "deferred"}, False, id="wait cleared after the run was marked"),
        pytest.param({**MARKED, WAIT: "up_for_retry"}, False, id="wait is tried again"),
    ],
)
def test_the_batches_of_a_run_are_cancelled_if_a_person_has_ended_it_and_else_go_on(
    states: dict[str, str | None],
    is_cancelled: bool,  # noqa: FBT001
    batch_id: str,
    slow_emulator: RunningEmulator,
) -> None:
    with pytest.raises(AirflowFailException, match="report"):
        execute("clean_up", Task({**states, **NEVER_MAPPED}), job=REACHABLE)
    assert (status_of(batch_id) is BatchStatus.CANCELLING) is is_cancelled


@pytest.mark.parametrize(
    ("job", "clear_number", "xcoms"),
    [
        pytest.param(dataclasses.replace(REACHABLE, on_kill="leave"), 0, {}, id="job leaves batches"),
        pytest.param(REACHABLE, 1, WAIT_FAILED, id="marked, cleared in part, and the wait failed by itself"),
    ],
)
def test_a_batch_goes_on_where_the_job_says_so_or_its_wait_may_have_failed_by_itself(
    job: BatchJob, clear_number: int, xcoms: dict[str, Any], batch_id: str
) -> None:
    task = Task({**MARKED, WAIT: "failed", **NEVER_MAPPED}, xcoms)
    with pytest.raises(AirflowFailException, match="report is skipped"):
        execute("clean_up", task, job=job, clear_number=clear_number)
    assert status_of(batch_id) is not BatchStatus.CANCELLING


def test_a_cancel_that_fails_is_tried_again_before_the_run_ends(batch_id: str, slow_emulator: RunningEmulator) -> None:
    slow_emulator.faults([{"kind": "status", "endpoint": "POST /batches/{id}/cancel", "status": 401, "count": 1}])
    states = {**MARKED, WAIT: "failed", **NEVER_MAPPED}
    with pytest.raises(RetryableError, match="could not be cancelled"):
        execute("clean_up", Task(states, try_number=1), job=REACHABLE)
    with pytest.raises(AirflowFailException, match="report is skipped"):
        execute("clean_up", Task(states, try_number=2), job=REACHABLE)
    assert status_of(batch_id) is BatchStatus.CANCELLING


def status_of(batch_id: str) -> BatchStatus:
    with GreenNodeHook().get_conn() as client:
        return client.get_batch(batch_id).status
