"""Run states: what the page shows for a run, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from greennode_airflow.ui.state_row import Row, sentence
from greennode_batch.job.prices import amount
from greennode_batch.monitor.run_figures import RunFigures, run_figures
from greennode_batch.monitor.staged_run import StagedRun, StagedShard
from greennode_batch.wording import counted

TaskCounts = Mapping[str, Mapping[str, int]]
"""How many instances of each task are in each state."""

STEPS = (
    "read_part", "build_requests", "approve_spend", "submit_batch", "wait_for_batch", "collect_results", "build_retry",
    "join_results", "report", "clean_up",
)  # fmt: skip
"""A pipeline's tasks, in order."""
_PARKED = frozenset({"awaiting_input", "deferred"})
UNDER_WAY = _PARKED | {"running", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "restarting"}
"""The states of a task that is to come to an end by itself."""
_BATCH_STEPS = frozenset({"submit_batch", "wait_for_batch", "collect_results", "build_retry"})
_UNREACHABLE = frozenset({"RetryableError", "AmbiguousError", "ApiError", "BusyError"})
_NO_FIGURES = run_figures(StagedRun(""), {}, is_over=False, now=0.0)


def rate_words(per_second: float) -> str:
    """How quick live answers come, as the end of a sentence; empty if that is not known yet."""
    return f", about {60 * per_second:,.0f} a minute" if per_second else ""


class Failure(msgspec.Struct, frozen=True):
    """A task that failed. task: its step in the pipeline, or its id. kind: the error's class; error: its sentence."""

    task: str
    kind: str = ""
    error: str = ""
    is_tried_again: bool = False
    task_id: str = ""
    map_index: int = -1


class Mark(msgspec.Struct, frozen=True):
    """A person has set a run's state by hand."""

    who: str
    state: str


class Cancel(msgspec.Struct, frozen=True):
    """A person has cancelled batches on the page. batch_ids: as text."""

    who: str
    batch_ids: str


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run. state: of the DAG run.

    tasks: of the pipeline, by their names in STEPS; others: the rest of the DAG. failure: of the earliest step that
    failed, or else of another task. marked: who has set the run's state. cancels: who has cancelled batches on the
    page, and their ids, the latest first. problem: why the server cannot be asked about the batches. at_server,
    cancelling: batches there, and how many of them are being cancelled.
    """

    state: str
    is_paused: bool = False
    is_dry_run: bool = False
    is_try: bool = False
    tasks: TaskCounts = {}
    others: TaskCounts = {}
    staged: StagedRun = StagedRun("")
    figures: RunFigures = _NO_FIGURES
    failure: Failure | None = None
    marked: Mark | None = None
    cancels: tuple[Cancel, ...] = ()
    problem: str | None = None
    at_server: int = 0
    cancelling: int = 0

    def is_at(self, *steps: str) -> bool:
        """Whether a task of one of these steps is under way."""
        return any(not UNDER_WAY.isdisjoint(self.tasks.get(step, ())) for step in steps)

    def is_parked(self, step: str) -> bool:
        """Whether all running tasks of a step wait without a worker."""
        active = UNDER_WAY & set(self.tasks.get(step, ()))
        return bool(active) and active <= _PARKED

    @property
    def is_active(self) -> bool:
        """Whether anything of the pipeline is under way."""
        return self.is_at(*STEPS)

    @property
    def is_retried(self) -> bool:
        """Whether all tasks under way have failed, and are tried again soon."""
        active = [set(states) & UNDER_WAY for states in self.tasks.values()]
        return any(active) and set().union(*active) == {"up_for_retry"}

    @property
    def is_held_back(self) -> bool:
        """Whether batches wait for capacity."""
        return self.is_parked("submit_batch") or (self.is_at("wait_for_batch") and "refused" in self.figures.stages)

    @property
    def pilot(self) -> StagedShard | None:
        """The shard that is sent before all others, if the run has one."""
        plan = self.staged.plan
        if plan is None or plan.pilot is None:
            return None
        return next((one for one in self.staged.shards if one.attempt == 1 and one.planned_id == plan.pilot), None)

    @property
    def awaits_pilot(self) -> bool:
        """Whether batches are sent only once results of the pilot were read."""
        pilot = self.pilot
        return self.is_parked("submit_batch") and pilot is not None and pilot.stage in {"sent", "cancelling"}

    @property
    def live_shards(self) -> list[StagedShard]:
        """The shards that are answered live, were, or are still to be sent."""
        return [one for one in self.staged.shards if one.requests and one.batch_id is None]

    @property
    def has_failed_at(self) -> str:
        """The step of the failure; empty where no task of the pipeline failed for good."""
        failure = self.failure
        return failure.task if failure and not failure.is_tried_again and failure.task in STEPS else ""

    @property
    def kind(self) -> str:
        """The class of the failure's error."""
        return self.failure.kind if self.failure else ""

    @property
    def was_rejected(self) -> bool:
        """Whether a person has rejected what the run may cost."""
        return self.staged.approval is not None and self.staged.approval.approved is False

    @property
    def is_skipped(self) -> bool:
        """Whether the DAG has skipped the pipeline."""
        return set(self.tasks.get("build_requests", ())) == {"skipped"}

    @property
    def over_budget(self) -> str:
        """Why requests were not sent again, if the budget stopped that."""
        return "; ".join(self.staged.report.over_budget) if self.staged.report else ""

    @property
    def fields(self) -> dict[str, str]:
        """The values that a row's words may use."""
        figures, failure, approval = self.figures, self.failure, self.staged.approval
        estimate, credit = figures.estimate, self.staged.no_credit
        priced = amount(estimate.cost, estimate.currency) if estimate and estimate.cost is not None else ""
        answering = [shard.answering for shard in self.staged.shards if shard.answering is not None]
        answered = sum(live.settled for live in answering)
        answered += sum(one.receipt.live.answered for one in self.live_shards if one.receipt and one.receipt.live)
        paid = amount(figures.cost.amount, figures.cost.currency) if figures.cost else ""
        unsent = figures.stages.get("refused", 0) + (figures.stages.get("built", 0) if self.is_held_back else 0)
        awaited = "its results, because it is the run's pilot" if self.awaits_pilot else "capacity"
        return {
            "who": self.marked.who if self.marked else approval.by if approval and approval.by else "somebody",
            "canceller": f" that {self.cancels[0].who} cancelled" if self.cancels else ", as it was asked to",
            "cost": amount(approval.cost, approval.currency) if approval else "what is estimated",
            "estimate": f"; it would cost about {priced}" if priced else "",
            "task": failure.task if failure else "",
            "error": sentence(failure.error if failure else ""),
            "credit": sentence(
                credit.words if credit and self.kind != "CreditError" else failure.error if failure else ""
            ),
            "rows": counted(figures.rows, "row"),
            "answered": f"{answered:,} of {counted(sum(one.requests for one in self.live_shards), 'request')}",
            "rate": rate_words(sum(live.per_second for live in answering)),
            "paid": f", and the answers cost {paid}" if paid else "",
            "failed": counted(figures.failed, "row has", "rows have"),
            "requests": counted(figures.requests, "request is", "requests are"),
            "batches": counted(self.at_server, "batch is", "batches are"),
            "unsent": counted(unsent, "batch of this run is", "batches of this run are"),
            "held_back": f", and {counted(unsent, 'batch is', 'batches are')} waiting for {awaited}" if unsent else "",
            "settled": counted(figures.unchanged + figures.remembered, "row has", "rows have"),
            "problem": self.problem or "",
            "budget": self.over_budget,
        }


_CLEAR = "then clear {task} with all that is downstream: what was sent is found again, and no answer is paid for twice."


def _always(_: RunFacts) -> bool:
    return True


def _in(state: str, holds: Callable[[RunFacts], bool] = _always) -> Callable[[RunFacts], bool]:
    """Rows for runs that have this state in Airflow."""
    return lambda run: run.state == state and holds(run)


RUN_STATES: tuple[Row[RunFacts], ...] = (
    # Runs that have not begun, or are under way.
    Row(
        "paused", "the DAG is paused, and nothing of the run is under way",
        lambda run: run.is_paused and run.state in {"queued", "running"} and not run.is_active,
        "paused", "idle", "The DAG is paused, so no task of this run starts.", "Unpause the DAG in Airflow.",
    ),
    Row(
        "queued", "Airflow has not started the run", _in("queued"),
        "queued", "idle", "Waiting for its turn: Airflow starts it when an earlier run of the DAG is over.",
    ),
    Row(
        "being-ended", "a person has marked the run, and one of its tasks is still under way",
        _in("running", lambda run: run.marked is not None),
        "being ended", "busy", "{who} marked the run by hand, and its last tasks are ending.",
    ),
    Row(
        "awaiting-approval", "approve_spend waits for a person",
        _in("running", lambda run: run.is_parked("approve_spend")),
        "awaiting approval", "idle",
        "Waiting for a person to approve about {cost}. {requests} built, and no batch is sent yet.",
        "Approve or reject it under Required Actions in Airflow.", ("approve",),
    ),
    Row(
        "server-unreachable", "tasks could not reach the server, and are tried again soon",
        _in("running", lambda run: run.is_retried and run.kind in _UNREACHABLE),
        "waiting for the server", "idle", "{task} got no good answer from the server and is tried again soon: {error}.",
        "Nothing to do: what was sent is kept. If it keeps failing, check the connection's base URL and the server.",
        ("task", "cancel"),
    ),
    Row(
        "tried-again", "all that is under way has failed, and is tried again soon",
        _in("running", lambda run: run.is_retried),
        "tried again soon", "idle", "{task} failed and is tried again soon: {error}.",
        "Fix what the error says, or wait for the next try.", ("task", "cancel"),
    ),
    Row(
        "dry-run-building", "a dry run is at work",
        _in("running", lambda run: run.is_dry_run and run.is_active),
        "dry run", "busy", "Dry run: the requests are built and shown in the log of build_requests; none is sent.",
    ),
    Row(
        "trying", "a try is at work", _in("running", lambda run: run.is_try and run.is_active),
        "try", "busy", "A try: the first rows are answered live, at the full price; nothing is written.",
    ),
    Row(
        "reading", "read_part is under way", _in("running", lambda run: run.is_at("read_part")),
        "running", "busy", "Reading the source.",
    ),
    Row(
        "building", "build_requests is under way", _in("running", lambda run: run.is_at("build_requests")),
        "running", "busy", "Reading the source and building the requests. No batch of them is sent yet.",
    ),
    Row(
        "deciding-approval", "approve_spend is under way",
        _in("running", lambda run: run.is_at("approve_spend")),
        "running", "busy", "Checking whether a person has to approve what the run may cost.",
    ),
    Row(
        "cancelling", "all batches at the server are being cancelled",
        _in("running", lambda run: 0 < run.at_server == run.cancelling),
        "being cancelled", "busy", "GreenNode is ending the batches{canceller}.",
        "Nothing to do: their finished answers are collected when they have ended.",
    ),
    Row(
        "waiting-unreachable", "batches are at the server, and the page cannot ask about their progress",
        _in("running", lambda run: run.is_at("wait_for_batch") and bool(run.at_server and run.problem)),
        "waiting for the server", "idle",
        "Waiting for GreenNode, which this page cannot reach at the moment: {problem}. {batches} there; the counts are "
        "from its last report.",
        "Nothing to do: the run continues when the server answers. If this lasts, check the connection.", ("cancel",),
    ),
    Row(
        "waiting", "wait_for_batch is under way, with batches at the server",
        _in("running", lambda run: run.is_at("wait_for_batch") and run.at_server > 0),
        "running", "busy", "Waiting for GreenNode: {batches} there{held_back}.",
        "Nothing to do: the run continues when they have ended.", ("cancel",),
    ),
    Row(
        "answering-live", "requests are being answered live, and no batch is at the server",
        _in("running", lambda run: run.is_at("submit_batch") and "answering" in run.figures.stages),
        "answering live", "busy", "Answering live, at the full price: {answered}{rate}.",
        "Nothing to do: each answer is saved as it comes.",
    ),
    Row(
        "waiting-for-capacity", "batches wait to be sent, and none is at the server",
        _in("running", lambda run: run.is_held_back and not run.at_server),
        "waiting for capacity", "idle",
        "Waiting for capacity: GreenNode, or the connection's own limits, accept no more batches now. {unsent} not "
        "sent yet.",
        "Nothing to do: each is sent as soon as it can be, at no extra cost.",
    ),
    Row(
        "sending", "submit_batch is under way", _in("running", lambda run: run.is_at("submit_batch")),
        "running", "busy", "Sending batches.", "", ("cancel",),
    ),
    Row(
        "collecting", "wait_for_batch or collect_results is under way, and no batch runs",
        _in("running", lambda run: run.is_at("wait_for_batch", "collect_results")),
        "running", "busy", "Collecting the answers.",
    ),
    Row(
        "preparing-retries", "build_retry is under way",
        _in("running", lambda run: run.is_at("build_retry")),
        "running", "busy", "Preparing retries of requests without an answer.",
    ),
    Row(
        "writing", "join_results is under way", _in("running", lambda run: run.is_at("join_results")),
        "running", "busy", "Writing into the target.",
    ),
    Row(
        "checking", "report is under way", _in("running", lambda run: run.is_at("report")),
        "running", "busy", "Checking that all rows are in the target, and making the report.",
    ),
    Row(
        "cleaning-up", "clean_up is under way", _in("running", lambda run: run.is_at("clean_up")),
        "running", "busy", "Deleting the run's files at GreenNode.",
    ),
    Row(
        "job-done", "the job's tasks are over, and others of the DAG are not",
        _in("running", lambda run: not run.is_active and "none" not in run.tasks.get("clean_up", {"none": 1})),
        "running", "busy", "This job is done; other tasks of the DAG are not.",
    ),
    Row(
        "before-the-job", "other tasks of the DAG are under way",
        _in("running", lambda run: any(not UNDER_WAY.isdisjoint(states) for states in run.others.values())),
        "running", "busy", "Other tasks of the DAG come first.",
    ),
    Row(
        "starting", "the run is running, and nothing is under way yet", _in("running"),
        "running", "busy", "Starting.",
    ),
    # Runs that succeeded.
    Row(
        "dry-run", "a dry run succeeded", _in("success", lambda run: run.is_dry_run),
        "dry run", "good", "Dry run: {requests} built and none was sent, so nothing was paid{estimate}.",
        "The log of build_requests shows the first requests. To send them, trigger the DAG without Dry run; to see "
        "answers to the first rows before, with Mode: try the first rows.", ("task",),
    ),
    Row(
        "tried", "a try succeeded", _in("success", lambda run: run.is_try),
        "try", "good", "A try of {rows}: nothing was written{paid}.",
        "Its answers are in the report Try. To write answers into the target, trigger the DAG with another mode.",
    ),
    Row(
        "left-out", "the DAG skipped the job", _in("success", lambda run: run.is_skipped),
        "skipped", "idle", "A branch of the DAG skipped this job, so no request was sent.",
    ),
    Row(
        "marked-success", "a person marked the run as success, and it has no report",
        _in("success", lambda run: run.staged.report is None and run.marked is not None),
        "marked success", "idle", "{who} marked the run as success. It has no report, so rows may be missing.",
        "To finish it, clear its first task that did not run with all that is downstream.", ("cancel",),
    ),
    Row(
        "no-report", "the run succeeded without a report",
        _in("success", lambda run: run.staged.report is None and not run.staged.was_removed),
        "no report", "idle", "The run ended without a report, so nothing confirms that its rows are in the target.",
        "Clear report with all that is downstream; that costs nothing.", ("cancel",),
    ),
    Row(
        "nothing-to-ask", "all rows have an outcome from an earlier run",
        _in("success", lambda run: not run.figures.rows and bool(run.figures.unchanged or run.figures.remembered)),
        "succeeded", "good", "Nothing to send: {settled} their outcome from an earlier run.",
        "To send them anyway, trigger the DAG with Ask again: all rows.",
    ),
    Row(
        "no-rows", "the source has no rows", _in("success", lambda run: not run.figures.rows),
        "succeeded", "good", "The source had no rows.", "If it should have some, check its query.",
    ),
    Row(
        "budget-stop", "the budget stopped further attempts",
        _in("success", lambda run: bool(run.over_budget)),
        "budget reached", "idle", "Finished, but the budget stopped further attempts: {budget}. {failed} no answer.",
        "The next run sends them again; raise the budget's max_cost to allow more attempts in one run.",
    ),
    Row(
        "with-failures", "some rows have no answer", _in("success", lambda run: run.figures.failed > 0),
        "succeeded", "good", "Finished: {failed} no answer; all others are in the target.",
        "See the reasons below. The next run sends again what is retryable.",
    ),
    Row(
        "succeeded", "every row has its answer", _in("success"),
        "succeeded", "good", "Finished: every row has its answer in the target.",
    ),
    # Runs that failed.
    Row(
        "rejected", "a person rejected what the run may cost", _in("failed", lambda run: run.was_rejected),
        "rejected", "bad", "{who} rejected about {cost}, so no batch was sent.",
        "To be asked again, clear approve_spend with all that is downstream.", ("task",),
    ),
    Row(
        "marked-failed", "a person marked the run as failed", _in("failed", lambda run: run.marked is not None),
        "marked failed", "bad", "{who} marked the run as failed.",
        "To finish it, clear its first task that failed or did not run with all that is downstream: what was sent is "
        "found again, and no answer is paid for twice.",
        ("cancel",),
    ),
    Row(
        "no-credit", "GreenNode refused a batch for lack of credit",
        _in("failed", lambda run: run.kind == "CreditError" or run.staged.no_credit is not None),
        "no credit", "bad", "The credit has run out: {credit}.",
        "Top up the account, then clear the failed submit_batch tasks with all that is downstream.", ("task", "cancel"),
    ),
    Row(
        "over-budget", "the budget stopped the run", _in("failed", lambda run: run.kind == "BudgetError"),
        "over budget", "bad", "The budget stopped the run: {error}.",
        f"Raise the job's budget or send fewer rows, {_CLEAR}", ("task", "cancel"),
    ),
    Row(
        "build-failed", "reading the source or building the requests failed",
        _in("failed", lambda run: run.has_failed_at in {"read_part", "build_requests"}),
        "failed", "bad", "{task} failed: {error}.", f"Fix what the error says, {_CLEAR}", ("task", "cancel"),
    ),
    Row(
        "approval-failed", "approve_spend failed, and not because a person rejected the run",
        _in("failed", lambda run: run.has_failed_at == "approve_spend"),
        "failed", "bad", "{task} failed, and no batch was sent: {error}.",
        "Clear approve_spend with all that is downstream to ask again.", ("task",),
    ),
    Row(
        "batches-failed", "sending, waiting for or collecting a batch failed",
        _in("failed", lambda run: run.has_failed_at in _BATCH_STEPS),
        "failed", "bad", "{task} failed: {error}.", f"Fix what the error says, {_CLEAR}", ("task", "cancel"),
    ),
    Row(
        "write-failed", "writing into the target failed",
        _in("failed", lambda run: run.has_failed_at == "join_results"),
        "failed", "bad", "{task} failed: {error}. The answers are kept in staging.",
        "Fix what the error says, then clear join_results with all that is downstream; that costs nothing.",
        ("task",),
    ),
    Row(
        "too-many-failures", "more rows have no answer than the job allows",
        _in("failed", lambda run: run.has_failed_at == "report" and run.kind == "FailedRowsError"),
        "failed", "bad", "{failed} no answer, which is more than the job allows. All rows are in the target.",
        "See the reasons below. The next run sends again what is retryable.", ("task",),
    ),
    Row(
        "report-failed", "the report failed", _in("failed", lambda run: run.has_failed_at == "report"),
        "failed", "bad", "{task} failed: {error}.",
        "Do what the error says; to check again, clear report with all that is downstream, which costs nothing.",
        ("task",),
    ),
    Row(
        "clean-up-failed", "clean_up alone failed",
        _in("failed", lambda run: run.has_failed_at == "clean_up"),
        "failed", "bad", "{task} failed: {error}.", "Do what the error says.", ("task", "cancel"),
    ),
    Row(
        "other-task-failed", "a task of the DAG that does not belong to the job failed",
        _in("failed", lambda run: run.failure is not None),
        "failed", "bad", "{task}, which does not belong to this job, failed: {error}.", f"Fix it, {_CLEAR}",
        ("task", "cancel"),
    ),
    Row(
        "ended-by-airflow", "the run failed, and none of its tasks did", _in("failed"),
        "failed", "bad", "Airflow ended the run although none of its tasks failed; its time limit may have passed.",
        "Open the run in Airflow; clear its tasks that did not run to finish it.", ("cancel",),
    ),
    Row(
        "unknown", "Airflow reports anything else", _always,
        "unknown", "idle", "Airflow gives the run a state that this page does not know.", "Open the run in Airflow.",
    ),
)  # fmt: skip
