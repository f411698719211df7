"""Task logs: the sentence of an error that only a task's log has, such as that of a task outside of a job."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence

import msgspec
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.utils.log.log_reader import TaskLogReader
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from greennode_airflow.ui.airflow_runs import AirflowRun, StoppedTask

log = logging.getLogger(__name__)

_LINES = 20_000
_CHARACTERS = 2_000
_KEPT = 1_000
# Each log takes a request to the worker or store that has it.
_READ_AT_ONCE = 3


class TaskLogs:
    """The errors in the logs of failed tries; each log is read once. Used by many threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], StoppedTask] = {}

    def with_errors(self, session: Session, run: AirflowRun, tasks: Sequence[StoppedTask]) -> list[StoppedTask]:
        """The tasks; some that failed without a recorded error get the one in their log."""
        lacking = [task for task in tasks if not task.error and task.state in {"failed", "up_for_retry"}]
        read = {task: self._read(session, run, task) for task in lacking[:_READ_AT_ONCE]}
        return [read.get(task, task) for task in tasks]

    def _read(self, session: Session, run: AirflowRun, task: StoppedTask) -> StoppedTask:
        found = session.scalar(
            select(TaskInstance)
            .where(
                TaskInstance.dag_id == run.dag_id,
                TaskInstance.run_id == run.run_id,
                TaskInstance.task_id == task.task_id,
                TaskInstance.map_index == task.map_index,
            )
            .options(joinedload(TaskInstance.trigger).joinedload(Trigger.triggerer_job))
        )
        if found is None:
            return task
        name = (*run.ids, task, found.try_number, found.end_date)
        if name not in self._known:
            for oldest in list(self._known)[: max(len(self._known) - _KEPT, 0)]:
                self._known.pop(oldest, None)
            self._known[name] = _with_last_error(task, found)
        return self._known[name]


def _with_last_error(task: StoppedTask, found: TaskInstance) -> StoppedTask:
    try:
        reader = TaskLogReader()
        if not reader.supports_read:
            return task
        lines, _ = reader.read_log_chunks(found, found.try_number, {"end_of_log": False})
        said = [error for line in itertools.islice(lines, _LINES) if (error := _error(line.model_extra or {}))]
    except Exception:
        log.info("The log of %s cannot be read for the page", task.task_id, exc_info=True)
        return task
    if not said:
        return task
    kind, words = said[-1]
    return msgspec.structs.replace(task, kind=kind, error=words[:_CHARACTERS])


def _error(fields: Mapping[str, object]) -> tuple[str, str] | None:
    """The error that a line of Airflow's log is about: the last in the chain of its causes."""
    details = fields.get("error_detail")
    if not isinstance(details, list) or not details or not isinstance(details[0], Mapping):
        return None
    kind, words = str(details[0].get("exc_type", "")), str(details[0].get("exc_value", ""))
    return kind, words or kind
