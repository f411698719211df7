"""RunOutcome: the outcome of a run, by the current states of its pipeline's tasks in Airflow.

A task of an earlier try leaves its files in staging and its result in XCom; only its state is of this try.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from greennode_airflow.failures import FAILURE_KEY
from greennode_airflow.runtime.runs import group_of

_READ, _BUILD, _APPROVE, _SUBMIT, _REPORT = (
    "read_part", "build_requests", "approve_spend", "attempt_1.submit_batch", "report",
)  # fmt: skip
_WAIT = re.compile(r"attempt_[0-9]+\.wait_for_batch")
# Airflow's branch operators record here which tasks they have followed, or skipped.
_BRANCHED = "skipmixin_key"
# None: for a task that the DAG does not have.
_GOOD = frozenset({None, "success"})
# States of a wait that will not go on by itself, and of one that has left no batch unless a person has marked it.
_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_WAITED = frozenset({"success", "skipped"})


class RunOutcome:
    """What a task after a pipeline's others can find out about them. Tasks that the DAG does not have are left out."""

    def __init__(self, operator: BaseOperator, context: Context) -> None:
        self._context, self._group = context, group_of(operator)
        self._dag = dag = operator.get_dag()
        self._tasks = dict(dag.task_dict) if dag is not None else {}
        here = [self._name(one) for one in (_READ, _BUILD, _APPROVE, _REPORT)]
        self._states = self._ask([name for name in here if name in self._tasks])

    def skip_if_left_out(self) -> None:
        """Skip the task if a branch of the DAG has skipped the pipeline."""
        if self._state(_BUILD) == "skipped" and any(self._branches()):
            raise AirflowSkipException("the DAG has skipped this pipeline, so there is nothing to do")

    def check_built(self) -> None:
        """Fail the task unless this try has built the run."""
        state, name = self._state(_BUILD), self._name(_BUILD)
        if said := self._sentence(_BUILD) if state == "failed" else "":
            raise AirflowFailException(f"{name} failed in this try: {said.rstrip('. ')}. {self._way_out()}")
        if state not in _GOOD:
            raise AirflowFailException(
                f"{name} is {state} in this try, and what an earlier one has built is not reported for it. "
                f"{self._way_out()}"
            )

    @property
    def has_build_failed(self) -> bool:
        """Whether this try has failed to build the run."""
        return self._state(_BUILD) == "failed"

    @property
    def is_ended_by_hand(self) -> bool:
        """Whether a person has certainly ended all waits of the run, by the states of its tasks.

        A wait that succeeds by itself leaves no batch that runs. One that fails may have failed by itself, and a clear
        goes on with its batch; but only a mark of the whole run skips the report, which else runs whatever happened.
        """
        states = set(self._ask(self._waits()).values())
        if not states or not states <= _ENDED:
            return False
        return states <= _WAITED or (self._state(_REPORT) == "skipped" and not self._may_be_skipped_before())

    def _may_be_skipped_before(self) -> bool:
        """Whether the report may be skipped since before a clear, after which a wait has failed by itself.

        Airflow also skips it where a run takes longer than its DAG allows; but then nothing runs here before a clear.
        """
        if not self._context["dag_run"].clear_number:
            return False
        has_timeout = self._dag is not None and self._dag.dagrun_timeout is not None
        return has_timeout or any(self._context["ti"].xcom_pull(task_ids=self._waits(), key=FAILURE_KEY))

    def _waits(self) -> list[str]:
        """The waits of all attempts."""
        return [name for name in self._tasks if _WAIT.fullmatch(name.removeprefix(f"{self._group}."))]

    @property
    def is_reported(self) -> bool:
        """Whether the report has run to its end, with a good or a bad result."""
        return self._state(_REPORT) in {*_GOOD, "failed"}

    def check_reported(self) -> None:
        """Fail the task unless the report has found the run's rows in the target."""
        state, name = self._state(_REPORT), self._name(_REPORT)
        if said := self._sentence(_REPORT) if state == "failed" else "":
            raise AirflowFailException(f"{name} failed, and with it the run: {said}")
        if state == "failed":
            raise AirflowFailException(
                f"{name} failed, and with it the run; its log says why, and what to clear. If it names nothing, "
                f"clear {name} with all that is downstream: that costs nothing"
            )
        if state not in _GOOD:
            raise AirflowFailException(
                f"{name} is {state}, so nothing confirms that the run's rows are in the target. {self._way_out()}"
            )

    def _sentence(self, task_id: str) -> str:
        """Why a task has failed, as it recorded; empty if it was ended before it could."""
        said = self._context["ti"].xcom_pull(task_ids=self._name(task_id), key=FAILURE_KEY) or {}
        return str(said.get("error", ""))

    def _way_out(self) -> str:
        """Which clear finishes the run."""
        first = next((one for one in (_READ, _BUILD, _APPROVE) if self._state(one) not in _GOOD), _SUBMIT)
        return (
            f"Clear {self._name(first)} of this run with all that is downstream: what was sent is found again, and no "
            "answer that came is paid for twice"
        )

    def _branches(self) -> Iterator[bool]:
        """For each task directly before the pipeline: whether it is the reason that the pipeline was skipped.

        Marking a run as failed also skips tasks that have not begun; then none is the reason.
        """
        task = self._context["ti"]
        first = self._tasks.get(self._name(_READ)) or self._tasks[self._name(_BUILD)]
        for name in first.upstream_task_ids:
            said = task.xcom_pull(task_ids=name, key=_BRANCHED) or {}
            yield first.task_id not in said.get("followed", [first.task_id]) or first.task_id in said.get("skipped", [])
            yield "skipped" in self._ask([name]).values()

    def _state(self, task_id: str) -> str | None:
        """The state of a task of the pipeline; of a mapped one, one that is not success, if any; None if missing."""
        name = self._name(task_id)
        found = [state for key, state in self._states.items() if key == name or _is_mapped(key, name)]
        return next((state for state in found if state != "success"), found[0] if found else None)

    def _name(self, task_id: str) -> str:
        return f"{self._group}.{task_id}" if self._group else task_id

    def _ask(self, names: list[str]) -> dict[str, str]:
        """The states of tasks, those of mapped ones by `<name>_<index>`."""
        if not names:
            return {}
        run = self._context["dag_run"]
        found: dict[str, Any] = self._context["ti"].get_task_states(
            dag_id=run.dag_id, task_ids=names, run_ids=[run.run_id]
        )
        # Declared as text, a state is sometimes an enumeration, which would print as TaskInstanceState.FAILED.
        return {
            name: "not run" if state is None else str(getattr(state, "value", state))
            for name, state in found.get(run.run_id, {}).items()
        }


def _is_mapped(key: str, name: str) -> bool:
    return key.startswith(f"{name}_") and key.removeprefix(f"{name}_").isdecimal()
