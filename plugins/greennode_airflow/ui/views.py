"""Views: the data that the browser gets about runs and shards, from Airflow's database, staging and the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote

import msgspec
from airflow.api_fastapi.app import API_ROOT_PATH
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from sqlalchemy.orm import Session

from greennode_airflow.runtime.shard_groups import group_size
from greennode_airflow.ui import report_path
from greennode_airflow.ui.airflow_runs import (
    AirflowRun,
    StoppedTask,
    count_instances,
    list_runs,
    mapped_states,
    noted_failures,
)
from greennode_airflow.ui.audit_log import Act
from greennode_airflow.ui.batch_states import BATCH_STATES, BatchFacts
from greennode_airflow.ui.known_runs import KnownRuns, batch_facts, known_runs, run_facts, step_of, with_reason
from greennode_airflow.ui.page_connections import Connections
from greennode_airflow.ui.reports import REPORT_NAMES, find_reports, groups_of
from greennode_airflow.ui.run_states import RUN_STATES, RunFacts
from greennode_airflow.ui.state_row import ACTIONS, State, row_of, state_of
from greennode_airflow.ui.task_logs import TaskLogs
from greennode_airflow.ui.task_states import TASK_STATES, TaskFacts
from greennode_batch.monitor.live_batches import LiveBatch
from greennode_batch.monitor.run_figures import RunFigures, ShardFigures, run_figures, shard_figures
from greennode_batch.monitor.staged_dags import Pipeline, StagedDags
from greennode_batch.monitor.staged_run import StagedRun, StagedRuns, StagedShard
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.run_report import RunReport
from greennode_batch.state.split import split_summary

WITH_FAILURES = "with_failures"
_TASKS = ("submit_batch", "wait_for_batch", "collect_results")
_RUNNING_READ = 20


_Search = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
_Offset = Annotated[int, Field(ge=0, le=1_000_000)]
_Limit = Annotated[int, Field(ge=1, le=100)]


class RunsWanted(BaseModel):
    """Which runs the browser asks for. search: in the ids of DAG and run."""

    dag_id: Annotated[str, Field(max_length=250)] | None = None
    state: Literal["queued", "running", "success", "failed"] | None = None
    search: _Search = ""
    offset: _Offset = 0
    limit: _Limit = 20


def _is_shown(state: str) -> str:
    if state not in {WITH_FAILURES, *(row.badge for row in BATCH_STATES)}:
        raise ValueError("no state of a batch")
    return state


class ShardsWanted(BaseModel):
    """Which shards of a run. state: with this badge, or `with_failures`. search: in the ids of shard and batch."""

    state: Annotated[str, AfterValidator(_is_shown)] | None = None
    search: _Search = ""
    offset: _Offset = 0
    limit: _Limit = 25


class Link(msgspec.Struct, frozen=True):
    """A link to another page of Airflow."""

    words: str
    url: str


class RunRow(AirflowRun, frozen=True, kw_only=True):
    """One run of one job. group: distinguishes several jobs of one DAG. links: what its status offers beside a cancel.

    has_sent: whether any of its batches was sent, or requests answered live.
    """

    group: str
    status: State
    links: tuple[Link, ...]
    has_sent: bool
    figures: RunFigures


class Summary(msgspec.Struct, frozen=True):
    """Totals of the running runs, from the latest 20 of them."""

    runs: int
    batches: int
    requested: int
    done: int


class RunList(msgspec.Struct, frozen=True):
    """One page of runs. dags: all that can be filtered by; states: how many runs are in each."""

    now: float
    dags: tuple[str, ...]
    states: dict[str, int]
    total: int
    runs: tuple[RunRow, ...]
    summary: Summary


class TaskRow(msgspec.Struct, frozen=True):
    """An Airflow task, with its page and its state."""

    name: str
    url: str
    status: State


class RunDetail(msgspec.Struct, frozen=True):
    """One run, without its shards and rows.

    groups: all jobs of the run's DAG. live_problem: why the server does not answer, if so; heard_at: the time of its
    last report. tasks: those that failed or wait for a person. notes: what people have done to the run. batches: how
    many have each badge; cancellable: how many may be cancelled now. reports: pages that its tasks have made.
    """

    now: float
    row: RunRow
    groups: tuple[str, ...]
    may_edit: bool
    path: str
    server: str
    conn_id: str | None
    was_removed: bool
    live_problem: str | None
    heard_at: float | None
    airflow_url: str
    tasks: tuple[TaskRow, ...]
    notes: tuple[str, ...]
    report: RunReport | None
    will_retry: bool
    batches: dict[str, int]
    cancellable: int
    unsent_shards: int
    reports: tuple[Link, ...]


class ShardRow(msgspec.Struct, frozen=True):
    """A shard, and its current task."""

    figures: ShardFigures
    status: State
    task: TaskRow


class ShardList(msgspec.Struct, frozen=True):
    """One page of a run's shards."""

    now: float
    total: int
    shards: tuple[ShardRow, ...]


class Views:
    """Builds the views. Used by many threads."""

    def __init__(self, dags: StagedDags, connections: Connections) -> None:
        self.dags = dags
        self.connections = connections
        self._runs = StagedRuns()
        self._logs = TaskLogs()

    def run_list(self, session: Session, readable: Collection[str], wanted: RunsWanted) -> RunList:
        """Runs of the DAGs that have run a job and that the user may read."""
        pipelines = {name: jobs for name, jobs in self.dags.by_dag().items() if name in readable}
        dag_ids = set(pipelines) if wanted.dag_id is None else {wanted.dag_id} & set(pipelines)
        search = wanted.search
        found = list_runs(session, dag_ids, wanted.state, search, offset=wanted.offset, limit=wanted.limit)
        running = list_runs(session, dag_ids, "running", search, offset=0, limit=_RUNNING_READ)
        under_way = self._rows(session, running.runs, pipelines)
        return RunList(
            now=time.time(),
            dags=tuple(sorted(pipelines)),
            states=found.states,
            total=found.total,
            runs=tuple(self._rows(session, found.runs, pipelines)),
            summary=Summary(
                runs=running.total,
                batches=sum(row.figures.stages.get(stage, 0) for row in under_way for stage in ("sent", "cancelling")),
                requested=sum(row.figures.requested for row in under_way),
                done=sum(row.figures.done for row in under_way),
            ),
        )

    def run_detail(
        self, session: Session, run: AirflowRun, pipeline: Pipeline, *, may_edit: bool, may_read_logs: bool
    ) -> RunDetail:
        """One run."""
        known = known_runs(session, [run])
        if may_read_logs:
            stopped = self._logs.with_errors(session, run, known.stopped_of(run))
            known = msgspec.structs.replace(known, stopped={run.ids: stopped})
        seen = self._seen(run, pipeline, known)
        staged, live = seen.facts.staged, seen.live
        row = _row(run, pipeline, seen)
        open_shards = [shard for shard in staged.shards if shard.is_open]
        latest = max((shard.attempt for shard in open_shards), default=1)
        heard = [live[shard.batch_id or ""].seen_at for shard in open_shards if shard.batch_id in live]
        badges = Counter(row_of(BATCH_STATES, seen.batch(shard)).badge for shard in staged.shards if shard.requests)
        tasks = known.tasks.get(run.ids, {})
        groups = tuple(one.group for one in self.dags.by_dag().get(run.dag_id, ()))
        return RunDetail(
            now=time.time(),
            row=row,
            groups=groups,
            may_edit=may_edit,
            path=staged.path,
            server=staged.server,
            conn_id=staged.conn_id,
            was_removed=staged.was_removed,
            live_problem=seen.facts.problem,
            heard_at=min(heard, default=None),
            airflow_url=run_url(run),
            tasks=tuple(_task_row(run, pipeline, task) for task in known.stopped_of(run)),
            notes=tuple(_notes(seen.facts, known.acts.get(run.ids, ()))),
            report=staged.report,
            will_retry=f"{_prefix(pipeline)}build_retry_{latest}" in tasks,
            batches=dict(badges),
            cancellable=sum("cancel" in row_of(BATCH_STATES, seen.batch(shard)).actions for shard in open_shards)
            if "cancel" in row.status.actions
            else 0,
            unsent_shards=sum(shard.stage in {"built", "refused"} for shard in staged.shards),
            reports=self._reports(run, {*groups_of(tasks), pipeline.group}),
        )

    def _reports(self, run: AirflowRun, groups: Iterable[str]) -> tuple[Link, ...]:
        return tuple(
            Link(REPORT_NAMES[found.name], _root() + report_path(run.dag_id, run.run_id, found.group, found.name))
            for found in find_reports(self.dags.root, run.dag_id, run.run_id, sorted(groups))
        )

    def shard_list(self, session: Session, run: AirflowRun, pipeline: Pipeline, wanted: ShardsWanted) -> ShardList:
        """Shards of one run."""
        known = known_runs(session, [run])
        seen = self._seen(run, pipeline, known)
        staged, prefix = seen.facts.staged, _prefix(pipeline)
        found = [shard for shard in staged.shards if _is_wanted(shard, seen, wanted)]
        page = found[wanted.offset : wanted.offset + wanted.limit]
        if seen.facts.is_try:
            # The task that builds answers as well.
            build = f"{prefix}build_requests"
            state = mapped_states(session, run, {build}, {-1}).get((build, -1), "none")
            tasks = [StoppedTask(build, -1, state)] * len(page)
        else:
            tasks = self._tasks_of(session, run, staged, page, prefix)
        said = noted_failures(session, run, [task for task in tasks if task.state in {"failed", "up_for_retry"}])
        now, done = time.time(), known.acts.get(run.ids, ())
        rows = [
            ShardRow(
                shard_figures(staged, shard, seen.live, now=now),
                state_of(BATCH_STATES, seen.batch(shard)),
                _task_row(run, pipeline, with_reason(said.get(task, task), done)),
            )
            for shard, task in zip(page, tasks, strict=True)
        ]
        return ShardList(now, len(found), tuple(rows))

    def _tasks_of(
        self, session: Session, run: AirflowRun, staged: StagedRun, page: Sequence[StagedShard], prefix: str
    ) -> list[StoppedTask]:
        """The current task of each shard."""
        names = {f"{prefix}attempt_{shard.attempt}.{task}" for shard in page for task in _TASKS}
        sizes = self._group_sizes(session, run, staged, prefix)
        indexes = {shard.index // sizes[shard.attempt] for shard in page}
        states = mapped_states(session, run, names, indexes) if page else {}
        return [_task_of(shard, shard.index // sizes[shard.attempt], prefix, states) for shard in page]

    def _group_sizes(self, session: Session, run: AirflowRun, staged: StagedRun, prefix: str) -> Mapping[int, int]:
        """How many shards an instance of each attempt's tasks has."""
        # Halves of a shard are in its instance.
        shards = Counter(attempt for attempt, _ in {(shard.attempt, shard.index) for shard in staged.shards})
        tasks = {attempt: f"{prefix}attempt_{attempt}.{_TASKS[0]}" for attempt in shards}
        instances = count_instances(session, run, tasks.values())
        return {
            attempt: group_size(count, instances[tasks[attempt]]) if tasks[attempt] in instances else 1
            for attempt, count in shards.items()
        }

    def staged(self, run: AirflowRun, pipeline: Pipeline) -> StagedRun:
        """A run's files in staging."""
        return self._runs.read(self.folder(run, pipeline))

    def folder(self, run: AirflowRun, pipeline: Pipeline) -> RunFolder:
        """Where that is."""
        return pipeline.run_folder(self.dags.root, run.run_id)

    def _rows(
        self, session: Session, runs: Sequence[AirflowRun], pipelines: Mapping[str, tuple[Pipeline, ...]]
    ) -> list[RunRow]:
        known = known_runs(session, runs)
        return [
            _row(run, pipeline, self._seen(run, pipeline, known)) for run in runs for pipeline in pipelines[run.dag_id]
        ]

    def _seen(self, run: AirflowRun, pipeline: Pipeline, known: KnownRuns) -> _Seen:
        staged = self.staged(run, pipeline)
        under_way = [shard.batch_id for shard in staged.shards if shard.is_open and shard.batch_id]
        batches = self.connections.live(staged.conn_id) if under_way else None
        live = batches.of(under_way) if batches else {}
        figures = run_figures(staged, live, is_over=run.is_over, now=time.time())
        problem = batches.problem if batches else None
        return _Seen(run_facts(run, pipeline.group, known, staged, figures=figures, live=live, problem=problem), live)


class _Seen(NamedTuple):
    """A job's run, as known now."""

    facts: RunFacts
    live: Mapping[str, LiveBatch]

    def batch(self, shard: StagedShard) -> BatchFacts:
        return batch_facts(shard, self.facts, self.live)


def _row(run: AirflowRun, pipeline: Pipeline, seen: _Seen) -> RunRow:
    facts = seen.facts
    status = state_of(RUN_STATES, facts)
    urls = {
        "approve": f"{task_url(run, f'{_prefix(pipeline)}approve_spend', -1)}/required_actions",
        "task": task_url(run, facts.failure.task_id, facts.failure.map_index)
        if facts.failure
        else task_url(run, f"{_prefix(pipeline)}build_requests", -1),
    }
    return RunRow(
        # A run may be one by its staging alone: Airflow's conf says nothing of a DAG's default.
        **{**msgspec.structs.asdict(run), "is_try": facts.is_try, "is_dry_run": facts.is_dry_run},
        group=pipeline.group,
        status=status,
        links=tuple(Link(ACTIONS[action], urls[action]) for action in status.actions if action in urls),
        has_sent=(facts.staged.report is not None and facts.staged.report.requests > 0)
        or any(shard.stage not in {"empty", "built", "refused"} for shard in facts.staged.shards),
        figures=facts.figures,
    )


def _notes(facts: RunFacts, done: Sequence[Act]) -> Iterator[str]:
    """What people have done to a run, and what else has changed its course, as sentences."""
    approval = facts.staged.approval
    if approval is not None and approval.approved is not None:
        yield f"{approval}."
    if splits := facts.staged.splits:
        yield f"{split_summary(len(splits), min(split.limit for split in splits))}."
    if facts.staged.report is not None:
        yield from (f"{words}." for words in facts.staged.report.over_budget)
    for act in reversed(done):
        if act.what == "cancelled":
            yield f"{act.who} cancelled on this page: {act.words}."
        elif act.what == "marked":
            yield f"{act.who} marked {act.task_id or 'the run'} as {act.state}."


def _prefix(pipeline: Pipeline) -> str:
    return f"{pipeline.group}." if pipeline.group else ""


def run_url(run: AirflowRun) -> str:
    """The run's page in Airflow's UI, as a path."""
    return f"{_root()}/dags/{_part(run.dag_id)}/runs/{_part(run.run_id)}"


def task_url(run: AirflowRun, task_id: str, map_index: int) -> str:
    """A task instance's page in Airflow's UI, as a path."""
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"{run_url(run)}/tasks/{_part(task_id)}{mapped}"


def _task_row(run: AirflowRun, pipeline: Pipeline, task: StoppedTask) -> TaskRow:
    name = task.task_id if task.map_index < 0 else f"{task.task_id} [{task.map_index}]"
    step = step_of(task.task_id, pipeline.group)
    status = state_of(TASK_STATES, TaskFacts(step, task.state, task.error))
    actions = "/required_actions" if "approve" in status.actions else ""
    return TaskRow(name, f"{task_url(run, task.task_id, task.map_index)}{actions}", status)


def _task_of(shard: StagedShard, index: int, prefix: str, states: Mapping[tuple[str, int], str]) -> StoppedTask:
    """The current task of a shard: the first of its three that failed, or the last that has begun."""
    names = [f"{prefix}attempt_{shard.attempt}.{task}" for task in _TASKS]
    found = {name: states.get((name, index), "none") for name in names}
    begun = [name for name in names if found[name] not in {"none", "upstream_failed"}] or names[:1]
    task = next((name for name in names if found[name] == "failed"), begun[-1])
    return StoppedTask(task, index, found[task])


def _is_wanted(shard: StagedShard, seen: _Seen, wanted: ShardsWanted) -> bool:
    if wanted.search and wanted.search not in shard.shard_id and wanted.search not in (shard.batch_id or ""):
        return False
    if wanted.state is None:
        return shard.stage != "empty"
    if wanted.state == WITH_FAILURES:
        return shard.receipt is not None and any(status != "succeeded" for status in shard.receipt.statuses)
    return shard.stage != "empty" and row_of(BATCH_STATES, seen.batch(shard)).badge == wanted.state


def _root() -> str:
    return API_ROOT_PATH.rstrip("/")


def _part(text: str) -> str:
    return quote(text, safe="")
