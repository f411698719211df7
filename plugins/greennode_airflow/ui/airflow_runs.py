"""Airflow runs: what Airflow's database knows of runs and tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

_OVER = frozenset({"success", "failed"})
_FAILED = ("failed", "up_for_retry")
_SHOWN_FAILURES = 20


class AirflowRun(msgspec.Struct, frozen=True):
    """A DAG run. Times are epoch seconds."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    started_at: float | None
    ended_at: float | None
    due_at: float | None

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will run, unless it is cleared."""
        return self.state in _OVER


class FailedTask(msgspec.Struct, frozen=True):
    """A task that failed. is_tried_again: Airflow will run it once more by itself."""

    task_id: str
    map_index: int
    is_tried_again: bool


class Runs(msgspec.Struct, frozen=True):
    """One page of runs, and how many there are in each state."""

    runs: tuple[AirflowRun, ...]
    total: int
    states: dict[str, int]


def list_runs(
    session: Session, dag_ids: Collection[str], state: str | None, search: str, *, offset: int, limit: int
) -> Runs:
    """The runs of these DAGs, the latest first. search: in the ids of DAG and run."""
    mine = [DagRun.dag_id.in_(sorted(dag_ids)), *_matching(search)]
    counted = session.execute(select(DagRun.state, func.count()).where(*mine).group_by(DagRun.state)).all()
    states = {str(found): int(count) for found, count in counted}
    wanted = mine if state is None else [*mine, DagRun.state == state]
    order = (DagRun.run_after.desc(), DagRun.id.desc())
    found = session.scalars(select(DagRun).where(*wanted).order_by(*order).offset(offset).limit(limit))
    total = sum(states.values()) if state is None else states.get(state, 0)
    return Runs(tuple(map(_run, found)), total, states)


def find_run(session: Session, dag_id: str, run_id: str) -> AirflowRun | None:
    """One run, or None if Airflow does not have it (any more)."""
    found = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return None if found is None else _run(found)


def count_tasks(session: Session, runs: Sequence[AirflowRun]) -> Mapping[tuple[str, str], dict[str, dict[str, int]]]:
    """Task instances of runs, by DAG and run, then by task and state (`none` before it has one)."""
    columns = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state)
    rows = session.execute(
        select(*columns, func.count())
        .where(
            TaskInstance.dag_id.in_({run.dag_id for run in runs}), TaskInstance.run_id.in_({run.run_id for run in runs})
        )
        .group_by(*columns)
    ).all()
    counted: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for dag_id, run_id, task_id, state, count in rows:
        counted.setdefault((dag_id, run_id), {}).setdefault(task_id, {})[str(state or "none")] = count
    return counted


def failed_tasks(session: Session, run: AirflowRun) -> list[FailedTask]:
    """The first of a run's tasks that failed."""
    columns = (TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
    rows = session.execute(
        select(*columns)
        .where(*_of(run), TaskInstance.state.in_(_FAILED))
        .order_by(TaskInstance.end_date, TaskInstance.task_id, TaskInstance.map_index)
        .limit(_SHOWN_FAILURES)
    ).all()
    return [FailedTask(task_id, map_index, state == "up_for_retry") for task_id, map_index, state in rows]


def count_instances(session: Session, run: AirflowRun, task_ids: Collection[str]) -> Mapping[str, int]:
    """How many instances each mapped task has now; a task that is not mapped yet is not among them."""
    rows = session.execute(
        select(TaskInstance.task_id, func.count())
        .where(
            *_of(run),
            TaskInstance.task_id.in_(sorted(task_ids)),
            TaskInstance.map_index >= 0,
            TaskInstance.state.is_distinct_from("removed"),
        )
        .group_by(TaskInstance.task_id)
    ).all()
    return {task_id: int(count) for task_id, count in rows}


def mapped_states(
    session: Session, run: AirflowRun, task_ids: Collection[str], indexes: Collection[int]
) -> Mapping[tuple[str, int], str]:
    """The states of mapped tasks, by task and map index."""
    columns = (TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
    rows = session.execute(
        select(*columns).where(
            *_of(run), TaskInstance.task_id.in_(sorted(task_ids)), TaskInstance.map_index.in_(sorted(indexes))
        )
    ).all()
    return {(task_id, map_index): str(state or "none") for task_id, map_index, state in rows}


def note_cancel(session: Session, run: AirflowRun, user_name: str, words: str) -> None:
    """Write into Airflow's audit log who has asked for it."""
    entry = Log(event="greennode_cancel", owner=user_name, extra=words, dag_id=run.dag_id, run_id=run.run_id)
    session.add(entry)


def _of(run: AirflowRun) -> tuple[ColumnElement[bool], ...]:
    return (TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)


def _matching(search: str) -> list[ColumnElement[bool]]:
    if not search:
        return []
    return [DagRun.run_id.icontains(search, autoescape=True) | DagRun.dag_id.icontains(search, autoescape=True)]


def _run(found: Any) -> AirflowRun:
    return AirflowRun(
        dag_id=found.dag_id,
        run_id=found.run_id,
        state=str(found.state),
        run_type=str(found.run_type),
        started_at=_seconds(found.start_date),
        ended_at=_seconds(found.end_date),
        due_at=_seconds(found.run_after),
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
