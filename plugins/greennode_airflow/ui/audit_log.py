"""Audit log: what people have done to runs by hand, as Airflow and this page have recorded it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from airflow.models.log import Log
from sqlalchemy import select
from sqlalchemy.orm import Session

from greennode_airflow.ui.airflow_runs import AirflowRun

_CANCEL = "greennode_cancel"
_RUN_EVENTS = ("patch_dag_run", "bulk_dag_runs")
_TASK_EVENTS = ("patch_task_instance", "patch_task_group_instances", "bulk_task_instances")
# What Airflow itself has found out about a task that has stopped responding.
_LOST_TASK_EVENTS = ("heartbeat timeout", "state mismatch", "stuck in queued tries exceeded", "fail task")
_STATES = frozenset({"failed", "success"})
_LATEST = 500


class Act(msgspec.Struct, frozen=True):
    """Something that was done. what: `marked` a run or a task, `cancelled` batches, or Airflow `lost` a task.

    state: the state it was marked with. task_id: empty for a whole run. words: about a cancel, or from Airflow. at:
    epoch seconds.
    """

    what: str
    who: str
    at: float
    state: str = ""
    task_id: str = ""
    map_index: int = -1
    words: str = ""


def note_cancel(session: Session, run: AirflowRun, user_name: str, words: str) -> None:
    """Record who has asked for batches of a run to be cancelled."""
    session.add(Log(event=_CANCEL, owner=user_name, extra=words, dag_id=run.dag_id, run_id=run.run_id))


def acts(session: Session, runs: Sequence[AirflowRun]) -> Mapping[tuple[str, str], list[Act]]:
    """What was done to runs since they were started or last cleared, the latest first."""
    started = {run.ids: run.started_at for run in runs if run.started_at is not None}
    if not started:
        return {}
    since = datetime.fromtimestamp(min(started.values()), UTC)
    entries = session.scalars(
        select(Log)
        .where(
            Log.event.in_((_CANCEL, *_RUN_EVENTS, *_TASK_EVENTS, *_LOST_TASK_EVENTS)),
            Log.dttm >= since,
            # An act on several runs names them only in its extra field.
            Log.run_id.in_(sorted({run_id for _, run_id in started})) | (Log.event == "bulk_dag_runs"),
        )
        .order_by(Log.dttm.desc(), Log.id.desc())
        .limit(_LATEST)
    )
    found: dict[tuple[str, str], list[Act]] = {}
    for entry in entries:
        for ids, act in _acts_of(entry):
            if ids in started and act.at >= started[ids]:
                found.setdefault(ids, []).append(act)
    return found


def _acts_of(entry: Log) -> Iterator[tuple[tuple[str, str], Act]]:
    who = entry.owner_display_name or entry.owner or "somebody"
    at = entry.dttm.timestamp() if entry.dttm else 0.0
    ids = (entry.dag_id or "", entry.run_id or "")
    if entry.event == _CANCEL:
        yield ids, Act("cancelled", who, at, words=entry.extra or "")
        return
    task_id, map_index = entry.task_id or "", -1 if entry.map_index is None else entry.map_index
    if entry.event in _LOST_TASK_EVENTS:
        yield ids, Act("lost", "Airflow", at, task_id=task_id, map_index=map_index, words=entry.extra or "")
        return
    said = _extra(entry)
    if entry.event == "bulk_dag_runs":
        for entity in _entities(said):
            run = (str(entity.get("dag_id") or entry.dag_id or ""), str(entity.get("dag_run_id", "")))
            if entity.get("state") in _STATES:
                yield run, Act("marked", who, at, state=str(entity["state"]))
    elif entry.event == "bulk_task_instances":
        for entity in _entities(said):
            if entity.get("new_state") in _STATES:
                yield (
                    ids,
                    Act("marked", who, at, str(entity["new_state"]), str(entity.get("task_id", "")), _index(entity)),
                )
    else:
        state = said.get("state") if entry.event == "patch_dag_run" else said.get("new_state")
        if state in _STATES:
            name = str(said.get("group_id", task_id))
            yield ids, Act("marked", who, at, str(state), name, _index(said))


def _extra(entry: Log) -> Mapping[str, Any]:
    try:
        said = json.loads(entry.extra or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, Mapping) else {}


def _entities(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    listed = said.get("actions")
    for action in listed if isinstance(listed, list) else ():
        if isinstance(action, Mapping) and action.get("action") == "update":
            several = action.get("entities")
            yield from (one for one in (several if isinstance(several, list) else ()) if isinstance(one, Mapping))


def _index(said: Mapping[str, Any]) -> int:
    try:
        return int(said.get("map_index", -1))
    except (TypeError, ValueError):
        return -1
