from __future__ import annotations

import msgspec
import pytest

from greennode_airflow.ui.batch_states import BATCH_STATES, BatchFacts
from greennode_airflow.ui.run_states import RUN_STATES, STEPS, Cancel, Failure, Mark, RunFacts
from greennode_airflow.ui.state_row import ACTIONS, state_of
from greennode_airflow.ui.task_states import TASK_STATES, TaskFacts
from greennode_batch.monitor.run_figures import Cost, run_figures
from greennode_batch.monitor.staged_run import StagedRun, StagedShard
from greennode_batch.state.approval_record import Approval
from greennode_batch.state.live_answers import LiveAnswers, LiveProgress
from greennode_batch.state.no_credit import NoCredit
from greennode_batch.state.plan import LongestRequest, Plan
from greennode_batch.state.receipts import Receipt
from greennode_batch.state.run_report import RunReport

NOTHING = run_figures(StagedRun(""), {}, is_over=False, now=0.0)
ASKED = Approval(1200, "VND")
REJECTED = Approval(1200, "VND", approved=False, by="ann", at=1.0)
REPORT = RunReport("job", "run_1", 5, 5, 1, {"succeeded": 5}, 0, 0)


def figures(**changes):
    return msgspec.structs.replace(NOTHING, **changes)


def staged(**fields):
    return StagedRun("", **fields)


def running(step, *states, **facts):
    return RunFacts(state="running", tasks={step: dict.fromkeys(states or ("running",), 1)}, **facts)


def failed(step, kind="", **facts):
    return RunFacts(state="failed", failure=Failure(step, kind, "why it failed"), **facts)


def over(**facts):
    return RunFacts(state="success", **facts)


ALL_DONE = {step: {"success": 1} for step in STEPS}
RUNS = {
    "paused": (RunFacts(state="queued", is_paused=True), "paused"),
    "queued": (RunFacts(state="queued"), "an earlier run"),
    "being-ended": (running("clean_up", marked=Mark("ann", "failed")), "ann marked the run"),
    "awaiting-approval": (
        running("approve_spend", "awaiting_input", staged=staged(approval=ASKED), figures=figures(requests=7)),
        "approve about 1,200 VND. 7 requests are built",
    ),
    "server-unreachable": (
        running("submit_batch", "up_for_retry", failure=Failure("submit_batch", "RetryableError", "503 from x", True)),
        "tried again soon: 503 from x.",
    ),
    "tried-again": (
        running("join_results", "up_for_retry", failure=Failure("join_results", "", "no table")),
        "no table",
    ),
    "dry-run-building": (running("build_requests", is_dry_run=True), "none is sent"),
    "trying": (running("build_requests", is_try=True), "nothing is written"),
    "reading": (running("read_part"), "Reading the source."),
    "building": (running("build_requests", "queued"), "building the requests"),
    "deciding-approval": (running("approve_spend"), "has to approve"),
    "cancelling": (
        running("wait_for_batch", "deferred", at_server=2, cancelling=2, cancels=(Cancel("ann", "b"),)),
        "ann cancelled",
    ),
    "waiting-unreachable": (
        running("wait_for_batch", "deferred", at_server=2, problem="no route to host"),
        "cannot reach at the moment: no route to host. 2 batches are there",
    ),
    "waiting": (running("wait_for_batch", "deferred", at_server=1), "Waiting for GreenNode: 1 batch is there."),
    "answering-live": (
        running(
            "submit_batch",
            figures=figures(stages={"answering": 1}),
            staged=staged(shards=(StagedShard(1, 0, "a", "m", 200, receipt=None, answering=LiveProgress(70, 2.0)),)),
        ),
        "70 of 200 requests, about 120 a minute",
    ),
    "waiting-for-capacity": (
        running("submit_batch", "deferred", figures=figures(stages={"built": 3})),
        "3 batches of this run are not sent yet",
    ),
    "sending": (running("submit_batch"), "Sending"),
    "collecting": (running("collect_results"), "Collecting"),
    "preparing-retries": (running("build_retry"), "Preparing retries"),
    "writing": (running("join_results"), "Writing into the target"),
    "checking": (running("report"), "Checking"),
    "cleaning-up": (running("clean_up"), "Deleting"),
    "job-done": (RunFacts(state="running", tasks=ALL_DONE, others={"mail": {"running": 1}}), "This job is done"),
    "before-the-job": (
        RunFacts(state="running", tasks={"clean_up": {"none": 1}}, others={"load": {"running": 1}}),
        "come first",
    ),
    "starting": (RunFacts(state="running"), "Starting"),
    "dry-run": (
        over(is_dry_run=True, figures=figures(requests=323, rows=323)),
        "323 requests are built and none was sent",
    ),
    "tried": (
        over(is_try=True, figures=figures(rows=10, failed=1, cost=Cost(1200, 0, "VND"))),
        "A try of 10 rows: nothing was written, and the answers cost 1,200 VND.",
    ),
    "left-out": (over(tasks={"build_requests": {"skipped": 1}}), "skipped this job"),
    "marked-success": (over(marked=Mark("ann", "success")), "ann marked the run as success"),
    "no-report": (over(), "without a report"),
    "nothing-to-ask": (over(staged=staged(report=REPORT), figures=figures(unchanged=4)), "4 rows have their outcome"),
    "no-rows": (over(staged=staged(report=REPORT)), "no rows"),
    "budget-stop": (
        over(
            staged=staged(report=msgspec.structs.replace(REPORT, over_budget=("over budget (max_cost 5 VND)",))),
            figures=figures(rows=5, failed=2),
        ),
        "over budget (max_cost 5 VND). 2 rows have no answer",
    ),
    "with-failures": (over(staged=staged(report=REPORT), figures=figures(rows=5, failed=1)), "1 row has no answer"),
    "succeeded": (over(staged=staged(report=REPORT), figures=figures(rows=5)), "every row has its answer"),
    "rejected": (failed("approve_spend", staged=staged(approval=REJECTED)), "ann rejected about 1,200 VND"),
    "marked-failed": (failed("wait_for_batch", marked=Mark("ann", "failed")), "ann marked the run as failed"),
    "no-credit": (failed("submit_batch", "CreditError"), "The credit has run out: why it failed"),
    "over-budget": (failed("build_requests", "BudgetError"), "stopped the run: why it failed"),
    "build-failed": (failed("build_requests", "ConfigError"), "build_requests failed: why it failed"),
    "approval-failed": (failed("approve_spend"), "no batch was sent: why it failed"),
    "batches-failed": (failed("collect_results"), "collect_results failed: why it failed"),
    "write-failed": (failed("join_results"), "kept in staging"),
    "too-many-failures": (failed("report", "FailedRowsError", figures=figures(failed=9)), "9 rows have no answer"),
    "report-failed": (failed("report", "AccountingError"), "report failed: why it failed"),
    "clean-up-failed": (failed("clean_up"), "clean_up failed: why it failed"),
    "other-task-failed": (failed("send_mail"), "send_mail, which does not belong to this job, failed: why it failed"),
    "ended-by-airflow": (RunFacts(state="failed"), "none of its tasks failed"),
    "unknown": (RunFacts(state="new in Airflow 4"), "does not know"),
}
TASKS = {
    "none": TaskFacts("report", "none"),
    "scheduled": TaskFacts("report", "scheduled"),
    "queued": TaskFacts("report", "queued"),
    "running": TaskFacts("report", "restarting"),
    "awaiting-input": TaskFacts("approve_spend", "awaiting_input"),
    "waiting-to-send": TaskFacts("submit_batch", "deferred"),
    "waiting": TaskFacts("wait_for_batch", "deferred"),
    "deferred": TaskFacts("", "deferred"),
    "rescheduled": TaskFacts("", "up_for_reschedule"),
    "tried-again": TaskFacts("report", "up_for_retry", "why it failed"),
    "success": TaskFacts("report", "success"),
    "failed": TaskFacts("report", "failed", "why it failed"),
    "upstream-failed": TaskFacts("report", "upstream_failed"),
    "skipped": TaskFacts("report", "skipped"),
    "removed": TaskFacts("submit_batch", "removed"),
    "unknown": TaskFacts("report", "new in Airflow 4"),
}
AT_WORK, FAILED = RunFacts(state="running"), RunFacts(state="failed")
NO_CREDIT = RunFacts(state="running", staged=StagedRun("", no_credit=NoCredit("a", "402")))
PILOT = StagedShard(1, 0, "a", "m", 100, receipt=Receipt("a", "created", "f", "api.test", batch_id="batch_a"))
PILOT_AHEAD = RunFacts(
    state="running",
    tasks={"submit_batch": {"success": 1, "deferred": 2}, "wait_for_batch": {"deferred": 1}},
    staged=staged(
        plan=Plan("job", "r", 1.0, ("id",), ("m",), 0, 0, 0, 0, LongestRequest(bytes=1, row="1"), "", (), pilot="a"),
        shards=(PILOT, StagedShard(1, 1, "b", "m", 900, receipt=None)),
    ),
    figures=figures(stages={"sent": 1, "built": 2}),
    at_server=1,
)
BATCHES = {
    "dry-run": BatchFacts(stage="built", run=over(is_dry_run=True)),
    "rejected": BatchFacts(stage="built", run=failed("approve_spend", staged=staged(approval=REJECTED))),
    "awaiting-approval": BatchFacts(stage="built", run=running("approve_spend", "awaiting_input")),
    "no-credit": BatchFacts(stage="built", run=NO_CREDIT),
    "never-sent": BatchFacts(stage="built", run=FAILED),
    "refused": BatchFacts(stage="refused", run=AT_WORK, over_capacity=3),
    "after-pilot": BatchFacts(stage="built", run=PILOT_AHEAD),
    "held-back": BatchFacts(stage="built", run=running("submit_batch", "deferred")),
    "built": BatchFacts(stage="built", run=running("submit_batch", "deferred", "running")),
    "answering": BatchFacts(stage="answering", run=AT_WORK, answered=70, requests=200, per_second=2.0),
    "answered-in-part": BatchFacts(stage="answering", run=FAILED, answered=70, requests=200),
    "cancelled": BatchFacts(stage="sent", run=FAILED, said="CANCELLED"),
    "expired": BatchFacts(stage="cancelling", run=AT_WORK, said="EXPIRED"),
    "failed": BatchFacts(stage="sent", run=AT_WORK, said="FAILED"),
    "ended": BatchFacts(stage="sent", run=AT_WORK, said="COMPLETED"),
    "cancelling": BatchFacts(stage="sent", run=AT_WORK, said="CANCELLING"),
    "left-behind": BatchFacts(stage="sent", run=FAILED),
    "still-running": BatchFacts(stage="sent", run=FAILED, said="IN_PROGRESS"),
    "at-server": BatchFacts(stage="sent", run=AT_WORK, said="IN_PROGRESS"),
    "answered": BatchFacts(stage="answered", run=AT_WORK),
    "forgotten": BatchFacts(stage="lost", run=AT_WORK, lost="forgotten"),
    "overdue": BatchFacts(stage="lost", run=AT_WORK, lost="overdue"),
    "collected-cancelled": BatchFacts(stage="collected", run=AT_WORK, ended="CANCELLED"),
    "collected-expired": BatchFacts(stage="collected", run=AT_WORK, ended="EXPIRED"),
    "collected-failed": BatchFacts(stage="collected", run=AT_WORK, ended="FAILED"),
    "collected-live": BatchFacts(stage="collected", run=AT_WORK, ended="COMPLETED", is_live=True),
    "collected": BatchFacts(stage="collected", run=AT_WORK, ended="COMPLETED"),
    "unknown": BatchFacts(stage="empty", run=AT_WORK),
}


@pytest.mark.parametrize("name", [row.name for row in RUN_STATES])
def test_each_state_of_a_run_has_its_words(name) -> None:
    facts, words = RUNS[name]
    shown = state_of(RUN_STATES, facts)
    assert shown.name == name
    assert words in shown.words
    assert "{" not in shown.words + shown.next_step


@pytest.mark.parametrize("name", [row.name for row in TASK_STATES])
def test_each_state_of_a_task_has_its_words(name) -> None:
    shown = state_of(TASK_STATES, TASKS[name])
    assert shown.name == name
    assert ("why it failed" in shown.words) == bool(TASKS[name].error)


@pytest.mark.parametrize("name", [row.name for row in BATCH_STATES])
def test_each_state_of_a_batch_has_its_words(name) -> None:
    shown = state_of(BATCH_STATES, BATCHES[name])
    assert shown.name == name
    assert shown.words
    assert "{" not in shown.words + shown.next_step


@pytest.mark.parametrize("table", [RUN_STATES, TASK_STATES, BATCH_STATES])
def test_names_are_different_badges_are_short_and_actions_are_known(table) -> None:
    assert len({row.name for row in table}) == len(table)
    assert all(len(row.badge) <= 22 and row.words.endswith((".", "}")) for row in table)
    assert {action for row in table for action in row.actions} <= set(ACTIONS)


@pytest.mark.parametrize("name", [row.name for row in RUN_STATES if row.look == "bad"])
def test_whatever_failed_says_what_to_do_next(name) -> None:
    assert state_of(RUN_STATES, RUNS[name][0]).next_step


@pytest.mark.parametrize("state", ["cancelled", "expired", "failed", "ended", "cancelling", "left-behind", "collected"])
def test_a_batch_that_is_over_offers_no_cancel(state) -> None:
    assert "cancel" not in state_of(BATCH_STATES, BATCHES[state]).actions


def test_batches_that_wait_for_the_pilot_are_not_said_to_wait_for_capacity() -> None:
    shown = state_of(RUN_STATES, PILOT_AHEAD)
    assert shown.words.endswith("2 batches are waiting for its results, because it is the run's pilot.")
    pilot = BatchFacts(stage="built", run=PILOT_AHEAD, is_pilot=True)
    assert state_of(BATCH_STATES, pilot).name == "held-back"


def test_live_answers_are_counted_over_all_that_is_answered_live() -> None:
    done = Receipt("b", "answered", "", "api.test", live=LiveAnswers(200, 200, 1.0, 2.0))
    shards = (
        StagedShard(1, 0, "a", "m", 200, receipt=None, answering=LiveProgress(70, 2.0)),
        StagedShard(1, 1, "b", "m", 200, receipt=done),
        StagedShard(1, 2, "c", "m", 100, receipt=None),
    )
    facts = running("submit_batch", figures=figures(stages={"answering": 1}), staged=staged(shards=shards))
    assert "270 of 500 requests" in state_of(RUN_STATES, facts).words


def test_a_task_whose_reason_nobody_noted_leads_to_its_log() -> None:
    assert "log" in state_of(RUN_STATES, RunFacts(state="failed", failure=Failure("report"))).words
