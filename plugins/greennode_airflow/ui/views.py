"""Views: what the browser is sent of runs and shards, put together from Airflow's database, staging and the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from airflow.api_fastapi.app import API_ROOT_PATH
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy.orm import Session

from greennode_airflow.runtime.shard_groups import group_size
from greennode_airflow.ui.airflow_runs import (
    AirflowRun,
    FailedTask,
    count_instances,
    count_tasks,
    failed_tasks,
    list_runs,
    mapped_states,
)
from greennode_airflow.ui.page_connections import Connections
from greennode_airflow.ui.phases import TaskCounts, has_later_attempt, phase_of
from greennode_batch.monitor.live_batches import LiveBatch
from greennode_batch.monitor.run_figures import RunFigures, ShardFigures, run_figures, shard_figures
from greennode_batch.monitor.staged_dags import Pipeline, StagedDags
from greennode_batch.monitor.staged_run import StagedRun, StagedRuns, StagedShard
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.run_report import RunReport

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


class ShardsWanted(BaseModel):
    """Which shards of a run. stage: of these alone, or `with_failures`. search: in the ids of shard and batch."""

    stage: Literal["built", "refused", "sent", "cancelling", "collected", "lost", "with_failures"] | None = None
    search: _Search = ""
    offset: _Offset = 0
    limit: _Limit = 25


class RunRow(AirflowRun, frozen=True):
    """One run of one job. group: tells apart several jobs of one DAG."""

    group: str
    phase: str
    figures: RunFigures


class Summary(msgspec.Struct, frozen=True):
    """What is running, all runs together; of the latest 20 of them."""

    runs: int
    batches: int
    requested: int
    done: int


class RunList(msgspec.Struct, frozen=True):
    """One page of runs. dags: all that may be filtered by; states: how many runs are in each."""

    now: float
    dags: tuple[str, ...]
    states: dict[str, int]
    total: int
    runs: tuple[RunRow, ...]
    summary: Summary


class LinkedTask(msgspec.Struct, frozen=True):
    """A task of Airflow's, and where its page is."""

    name: str
    url: str
    is_tried_again: bool


class RunDetail(msgspec.Struct, frozen=True):
    """All of one run but its shards and rows. live_problem: why the server says nothing, where that is so."""

    now: float
    row: RunRow
    may_edit: bool
    path: str
    server: str
    conn_id: str | None
    was_removed: bool
    live_problem: str | None
    airflow_url: str
    failed_tasks: tuple[LinkedTask, ...]
    report: RunReport | None
    will_retry: bool
    cancellable: int
    unsent_shards: int


class ShardRow(msgspec.Struct, frozen=True):
    """A shard, and the task that it is at."""

    figures: ShardFigures
    task: str
    task_state: str
    task_url: str


class ShardList(msgspec.Struct, frozen=True):
    """One page of a run's shards."""

    now: float
    total: int
    shards: tuple[ShardRow, ...]


class Views:
    """Makes them. Used by many threads."""

    def __init__(self, dags: StagedDags, connections: Connections) -> None:
        self.dags = dags
        self.connections = connections
        self._runs = StagedRuns()

    def run_list(self, session: Session, readable: Collection[str], wanted: RunsWanted) -> RunList:
        """Runs of those DAGs that have run a job and may be read."""
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

    def run_detail(self, session: Session, run: AirflowRun, pipeline: Pipeline, *, may_edit: bool) -> RunDetail:
        """One run."""
        staged = self.staged(run, pipeline)
        tasks = count_tasks(session, [run]).get((run.dag_id, run.run_id), {})
        open_shards = [shard for shard in staged.shards if shard.is_open]
        latest = max((shard.attempt for shard in open_shards), default=1)
        return RunDetail(
            now=time.time(),
            row=self._row(run, pipeline, staged, tasks),
            may_edit=may_edit,
            path=staged.path,
            server=staged.server,
            conn_id=staged.conn_id,
            was_removed=staged.was_removed,
            live_problem=self.connections.live(staged.conn_id).problem if open_shards else None,
            airflow_url=run_url(run),
            failed_tasks=tuple(_linked(run, task) for task in failed_tasks(session, run)),
            report=staged.report,
            will_retry=has_later_attempt(tasks, latest, group=pipeline.group),
            cancellable=len(open_shards),
            unsent_shards=sum(shard.stage in {"built", "refused"} for shard in staged.shards),
        )

    def shard_list(self, session: Session, run: AirflowRun, pipeline: Pipeline, wanted: ShardsWanted) -> ShardList:
        """Shards of one run."""
        staged = self.staged(run, pipeline)
        found = [shard for shard in staged.shards if _is_wanted(shard, wanted.stage, wanted.search)]
        page = found[wanted.offset : wanted.offset + wanted.limit]
        live = self._live(staged, page)
        prefix = f"{pipeline.group}." if pipeline.group else ""
        names = {f"{prefix}attempt_{shard.attempt}.{task}" for shard in page for task in _TASKS}
        sizes = self._group_sizes(session, run, staged, prefix)
        indexes = {shard.index // sizes[shard.attempt] for shard in page}
        states = mapped_states(session, run, names, indexes) if page else {}
        now = time.time()
        rows = []
        for shard in page:
            index = shard.index // sizes[shard.attempt]
            task, task_state = _task_of(shard, index, prefix, states)
            figures = shard_figures(staged, shard, live, now=now)
            rows.append(ShardRow(figures, task, task_state, task_url(run, task, index)))
        return ShardList(now, len(found), tuple(rows))

    def _group_sizes(self, session: Session, run: AirflowRun, staged: StagedRun, prefix: str) -> Mapping[int, int]:
        """Of each attempt, how many shards an instance of its tasks has."""
        shards = Counter(shard.attempt for shard in staged.shards)
        tasks = {attempt: f"{prefix}attempt_{attempt}.{_TASKS[0]}" for attempt in shards}
        instances = count_instances(session, run, tasks.values())
        return {
            attempt: group_size(count, instances[tasks[attempt]]) if tasks[attempt] in instances else 1
            for attempt, count in shards.items()
        }

    def staged(self, run: AirflowRun, pipeline: Pipeline) -> StagedRun:
        """What lies in staging of a run."""
        return self._runs.read(self.folder(run, pipeline))

    def folder(self, run: AirflowRun, pipeline: Pipeline) -> RunFolder:
        """Where that is."""
        return pipeline.run_folder(self.dags.root, run.run_id)

    def _rows(
        self, session: Session, runs: Sequence[AirflowRun], pipelines: Mapping[str, tuple[Pipeline, ...]]
    ) -> list[RunRow]:
        tasks = count_tasks(session, runs) if runs else {}
        return [
            self._row(run, pipeline, self.staged(run, pipeline), tasks.get((run.dag_id, run.run_id), {}))
            for run in runs
            for pipeline in pipelines[run.dag_id]
        ]

    def _row(self, run: AirflowRun, pipeline: Pipeline, staged: StagedRun, tasks: TaskCounts) -> RunRow:
        return RunRow(
            **msgspec.structs.asdict(run),
            group=pipeline.group,
            phase=phase_of(run.state, tasks, group=pipeline.group),
            figures=run_figures(staged, self._live(staged, staged.shards), is_over=run.is_over, now=time.time()),
        )

    def _live(self, staged: StagedRun, shards: Sequence[StagedShard]) -> Mapping[str, LiveBatch]:
        under_way = [shard.batch_id for shard in shards if shard.is_open and shard.batch_id]
        return self.connections.live(staged.conn_id).of(under_way) if under_way else {}


def run_url(run: AirflowRun) -> str:
    """The run's page in Airflow's UI, as a path."""
    return f"{API_ROOT_PATH}dags/{_part(run.dag_id)}/runs/{_part(run.run_id)}"


def task_url(run: AirflowRun, task_id: str, map_index: int) -> str:
    """A task instance's page in Airflow's UI, as a path."""
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"{run_url(run)}/tasks/{_part(task_id)}{mapped}"


def _linked(run: AirflowRun, task: FailedTask) -> LinkedTask:
    name = task.task_id if task.map_index < 0 else f"{task.task_id} [{task.map_index}]"
    return LinkedTask(name, task_url(run, task.task_id, task.map_index), task.is_tried_again)


def _task_of(shard: StagedShard, index: int, prefix: str, states: Mapping[tuple[str, int], str]) -> tuple[str, str]:
    """The task that a shard is at, and its state: the first of its three that failed, or the last that has begun."""
    names = [f"{prefix}attempt_{shard.attempt}.{task}" for task in _TASKS]
    found = {name: states.get((name, index), "none") for name in names}
    begun = [name for name in names if found[name] not in {"none", "upstream_failed"}] or names[:1]
    task = next((name for name in names if found[name] == "failed"), begun[-1])
    return task, found[task]


def _is_wanted(shard: StagedShard, stage: str | None, search: str) -> bool:
    if search and search not in shard.shard_id and search not in (shard.batch_id or ""):
        return False
    if stage is None:
        return shard.stage != "empty"
    if stage == "with_failures":
        return shard.receipt is not None and any(status != "succeeded" for status in shard.receipt.statuses)
    return shard.stage == stage


def _part(text: str) -> str:
    return quote(text, safe="")
