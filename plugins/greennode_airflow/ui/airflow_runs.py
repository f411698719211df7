"""Airflow runs: what Airflow's database holds about runs and tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import Session

from greennode_airflow.failures import FAILURE_KEY

_OVER = frozenset({"success", "failed"})
_FAILED = ("failed", "up_for_retry")
_WANT_SOMEBODY = (*_FAILED, "awaiting_input")
_SHOWN_TASKS = 20


class AirflowRun(msgspec.Struct, frozen=True):
    """A DAG run. Times are epoch seconds. is_dry_run, is_try: whether it was triggered as one."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    started_at: float | None
    ended_at: float | None
    due_at: float | None
    is_paused: bool = False
    is_dry_run: bool = False
    is_try: bool = False

    @property
    def is_over(self) -> bool:
        """Whether none of its tasks will run, unless one is cleared."""
        return self.state in _OVER

    @property
    def ids(self) -> tuple[str, str]:
        """What identifies it."""
        return self.dag_id, self.run_id


class StoppedTask(msgspec.Struct, frozen=True):
    """A task that failed, or waits for a person. kind, error: of its error, if it has recorded one."""

    task_id: str
    map_index: int
    state: str
    kind: str = ""
    error: str = ""


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
    found = session.scalars(select(DagRun).where(*wanted).order_by(*order).offset(offset).limit(limit)).all()
    total = sum(states.values()) if state is None else states.get(state, 0)
    return Runs(tuple(_runs(session, found)), total, states)


def find_run(session: Session, dag_id: str, run_id: str) -> AirflowRun | None:
    """One run, or None if Airflow does not have it (any more)."""
    found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).all()
    return next(iter(_runs(session, found)), None)


def count_tasks(session: Session, runs: Sequence[AirflowRun]) -> Mapping[tuple[str, str], dict[str, dict[str, int]]]:
    """Task instances of runs, by DAG and run, then by task and state (`none` if it has no state yet)."""
    columns = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state)
    rows = session.execute(select(*columns, func.count()).where(*_of(runs)).group_by(*columns)).all()
    counted: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for dag_id, run_id, task_id, state, count in rows:
        counted.setdefault((dag_id, run_id), {}).setdefault(task_id, {})[str(state or "none")] = count
    return counted


def stopped_tasks(session: Session, runs: Sequence[AirflowRun]) -> Mapping[tuple[str, str], list[StoppedTask]]:
    """For each run, the first of its tasks that failed or wait for a person, with their sentences."""
    columns = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    order = (TaskInstance.end_date, TaskInstance.task_id, TaskInstance.map_index)
    number = func.row_number().over(partition_by=columns[:2], order_by=order).label("number")
    numbered = (
        select(*columns, TaskInstance.state, number)
        .where(*_of(runs), TaskInstance.state.in_(_WANT_SOMEBODY))
        .order_by(number)
        .subquery()
    )
    rows = session.execute(select(numbered).where(numbered.c.number <= _SHOWN_TASKS).order_by(numbered.c.number)).all()
    said = _failures(session, [tuple(row[:4]) for row in rows if row[4] in _FAILED])
    found: dict[tuple[str, str], list[StoppedTask]] = {}
    for dag_id, run_id, task_id, map_index, state, _ in rows:
        noted = said.get((dag_id, run_id, task_id, map_index), {})
        found.setdefault((dag_id, run_id), []).append(StoppedTask(task_id, map_index, str(state), **noted))
    return found


def count_instances(session: Session, run: AirflowRun, task_ids: Collection[str]) -> Mapping[str, int]:
    """How many instances each mapped task has now; tasks that are not mapped yet are left out."""
    rows = session.execute(
        select(TaskInstance.task_id, func.count())
        .where(
            *_of([run]),
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
            *_of([run]), TaskInstance.task_id.in_(sorted(task_ids)), TaskInstance.map_index.in_(sorted(indexes))
        )
    ).all()
    return {(task_id, map_index): str(state or "none") for task_id, map_index, state in rows}


def noted_failures(
    session: Session, run: AirflowRun, tasks: Sequence[StoppedTask]
) -> Mapping[StoppedTask, StoppedTask]:
    """The tasks with the errors that they have recorded."""
    names = {(run.dag_id, run.run_id, task.task_id, task.map_index): task for task in tasks}
    return {
        names[name]: msgspec.structs.replace(names[name], **noted) for name, noted in _failures(session, names).items()
    }


def _failures(session: Session, tasks: Collection[tuple[Any, ...]]) -> Mapping[tuple[Any, ...], Mapping[str, str]]:
    """The recorded errors of these tasks, by DAG, run, id and map index."""
    if not tasks:
        return {}
    columns = (XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index)
    rows = session.execute(
        select(*columns, XComModel.value).where(XComModel.key == FAILURE_KEY, tuple_(*columns).in_(tasks))
    ).all()
    values = {tuple(row[:4]): XComModel.deserialize_value(row) for row in rows}
    # Another XCom backend may store anything here.
    return {
        name: {key: str(value.get(key, "")) for key in ("kind", "error")}
        for name, value in values.items()
        if isinstance(value, Mapping)
    }


def _of(runs: Sequence[AirflowRun]) -> tuple[ColumnElement[bool], ...]:
    return (
        TaskInstance.dag_id.in_(sorted({run.dag_id for run in runs})),
        TaskInstance.run_id.in_(sorted({run.run_id for run in runs})),
    )


def _matching(search: str) -> list[ColumnElement[bool]]:
    if not search:
        return []
    return [DagRun.run_id.icontains(search, autoescape=True) | DagRun.dag_id.icontains(search, autoescape=True)]


def _runs(session: Session, found: Sequence[Any]) -> Iterable[AirflowRun]:
    dag_ids = sorted({one.dag_id for one in found})
    paused = set(session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.in_(dag_ids), DagModel.is_paused)))
    for one in found:
        yield AirflowRun(
            dag_id=one.dag_id,
            run_id=one.run_id,
            state=str(one.state),
            run_type=str(one.run_type),
            started_at=_seconds(one.start_date),
            ended_at=_seconds(one.end_date),
            due_at=_seconds(one.run_after),
            is_paused=one.dag_id in paused,
            is_dry_run=isinstance(one.conf, Mapping) and one.conf.get("dry_run") is True,
            is_try=isinstance(one.conf, Mapping) and one.conf.get("mode") == "try",
        )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
