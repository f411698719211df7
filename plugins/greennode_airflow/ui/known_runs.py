"""Known runs: combines Airflow's data of several runs with staging and the server into the facts of each job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy.orm import Session

from greennode_airflow.ui.airflow_runs import AirflowRun, StoppedTask, count_tasks, stopped_tasks
from greennode_airflow.ui.audit_log import Act, acts
from greennode_airflow.ui.batch_states import BatchFacts
from greennode_airflow.ui.run_states import STEPS, UNDER_WAY, Cancel, Failure, Mark, RunFacts, TaskCounts
from greennode_batch.monitor.live_batches import LiveBatch
from greennode_batch.monitor.run_figures import RunFigures
from greennode_batch.monitor.staged_run import StagedRun, StagedShard

# A task of an attempt, or of the job itself; a build of retries has its attempt's number.
_OWN_TASK = re.compile(rf"(?:attempt_\d+\.)?({'|'.join(STEPS)})(?:(?<=build_retry)_\d+)?")
_FAILED = frozenset({"failed", "up_for_retry"})


class KnownRuns(msgspec.Struct, frozen=True):
    """By DAG and run: how many of its tasks are in each state, which of them stopped, what was done to it by hand."""

    tasks: Mapping[tuple[str, str], TaskCounts]
    stopped: Mapping[tuple[str, str], Sequence[StoppedTask]]
    acts: Mapping[tuple[str, str], Sequence[Act]]

    def stopped_of(self, run: AirflowRun) -> list[StoppedTask]:
        """Its stopped tasks; one without a recorded error says who or what has ended it."""
        done = self.acts.get(run.ids, ())
        return [with_reason(task, done) for task in self.stopped.get(run.ids, ())]


def known_runs(session: Session, runs: Sequence[AirflowRun]) -> KnownRuns:
    """Query Airflow's database, with the same number of queries for many runs as for one."""
    if not runs:
        return KnownRuns({}, {}, {})
    return KnownRuns(count_tasks(session, runs), stopped_tasks(session, runs), acts(session, runs))


def with_reason(task: StoppedTask, done: Sequence[Act]) -> StoppedTask:
    """The task; if it has no sentence yet, it gets one about a person's act or about what Airflow has found."""
    if task.error or task.state not in _FAILED:
        return task
    mine = [one for one in done if one.map_index in {-1, task.map_index} and _is_of(task.task_id, one.task_id)]
    for act in mine:
        if act.what == "marked" and act.state == "failed":
            return msgspec.structs.replace(
                task, error=f"{act.who} marked {'it' if act.task_id else 'the run'} as failed"
            )
        if act.what == "lost" and act.task_id:
            return msgspec.structs.replace(task, error=act.words)
    return task


def _is_of(task_id: str, acted_on: str) -> bool:
    return not acted_on or task_id == acted_on or task_id.startswith(f"{acted_on}.")


def step_of(task_id: str, group: str) -> str:
    """The step of a job's pipeline that a task belongs to, one of STEPS; empty for other tasks."""
    prefix = f"{group}." if group else ""
    found = _OWN_TASK.fullmatch(task_id.removeprefix(prefix)) if task_id.startswith(prefix) else None
    return found[1] if found else ""


def _step_of_whole(task_id: str, group: str, states: Mapping[str, int], staged: StagedRun) -> str:
    """The step that a task which is a whole job is at, by what lies in staging; empty where it is not under way."""
    if task_id != group and not re.fullmatch(rf"{re.escape(task_id)}\.\d+", group):
        return ""
    if UNDER_WAY.isdisjoint(states):
        return ""
    if not staged.shards:
        return "build_requests"
    stages = {shard.stage for shard in staged.shards}
    if stages & {"sent", "cancelling"}:
        return "wait_for_batch"
    return "submit_batch" if stages & {"built", "refused", "answering"} else "join_results"


def run_facts(
    run: AirflowRun,
    group: str,
    known: KnownRuns,
    staged: StagedRun,
    *,
    figures: RunFigures,
    live: Mapping[str, LiveBatch],
    problem: str | None,
) -> RunFacts:
    """The facts of one job's run. problem: why the server cannot be asked, if so."""
    tasks: dict[str, dict[str, int]] = {}
    others: dict[str, Mapping[str, int]] = {}
    for task_id, states in known.tasks.get(run.ids, {}).items():
        if step := step_of(task_id, group) or _step_of_whole(task_id, group, states, staged):
            counted = tasks.setdefault(step, {})
            for state, count in states.items():
                counted[state] = counted.get(state, 0) + count
        else:
            others[task_id] = states
    done = known.acts.get(run.ids, ())
    marks = [act for act in done if act.what == "marked" and not act.task_id]
    there = [shard for shard in staged.shards if is_running(shard, live)]
    return RunFacts(
        state=run.state,
        is_paused=run.is_paused,
        is_dry_run=run.is_dry_run or staged.is_dry_run,
        is_try=(run.is_try and not run.is_dry_run) or staged.is_try,
        tasks=tasks,
        others=others,
        staged=staged,
        figures=figures,
        failure=_failure(known.stopped_of(run), group),
        marked=Mark(marks[0].who, marks[0].state) if marks else None,
        cancels=tuple(Cancel(act.who, act.words) for act in done if act.what == "cancelled"),
        problem=problem,
        at_server=len(there),
        cancelling=sum(is_cancelling(shard, live) for shard in there),
    )


def batch_facts(shard: StagedShard, run: RunFacts, live: Mapping[str, LiveBatch]) -> BatchFacts:
    """The facts of one shard."""
    receipt = shard.receipt
    seen = live.get(shard.batch_id or "") if shard.is_open else None
    return BatchFacts(
        stage=shard.stage,
        run=run,
        said=seen.name if seen else "",
        ended=receipt.ended.status if receipt and receipt.ended else "",
        lost=(receipt.lost or "") if receipt else "",
        over_capacity=len(receipt.over_capacity) if receipt else 0,
        is_pilot=run.pilot is not None and shard.planned_id == run.pilot.planned_id,
        is_live=receipt is not None and receipt.live is not None,
        answered=shard.answering.settled if shard.answering else 0,
        requests=shard.requests,
        per_second=shard.answering.per_second if shard.answering else 0.0,
        cancelled_by=_canceller(shard.batch_id, run),
    )


def _canceller(batch_id: str | None, run: RunFacts) -> str:
    """Who has cancelled a batch, on the page or by marking its run; empty if unknown."""
    if batch_id is None:
        return ""
    marker = run.marked.who if run.marked else ""
    return next((one.who for one in run.cancels if batch_id in one.batch_ids), marker)


def is_running(shard: StagedShard, live: Mapping[str, LiveBatch]) -> bool:
    """Whether its batch is at the server and not over, by the server's last report."""
    seen = live.get(shard.batch_id or "")
    return shard.is_open and (seen is None or not seen.is_over)


def is_cancelling(shard: StagedShard, live: Mapping[str, LiveBatch]) -> bool:
    """Whether its batch was asked to end."""
    seen = live.get(shard.batch_id or "")
    return shard.stage == "cancelling" or (seen is not None and seen.name == "CANCELLING")


def _failure(stopped: Sequence[StoppedTask], group: str) -> Failure | None:
    """The failure that caused the others: of the earliest step; final ones before those that are tried again."""
    failed = [task for task in stopped if task.state in _FAILED]
    if not failed:
        return None
    steps = {task: step_of(task.task_id, group) for task in failed}

    def order(task: StoppedTask) -> tuple[int, bool]:
        return STEPS.index(steps[task]) if steps[task] else len(STEPS), task.state == "up_for_retry"

    first = min(failed, key=order)
    return Failure(
        steps[first] or first.task_id,
        first.kind,
        first.error,
        first.state == "up_for_retry",
        first.task_id,
        first.map_index,
    )
