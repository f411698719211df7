"""Task states: Airflow's current states of tasks whose triggers are killed, read with one call for many of them."""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from greennode_airflow.waiting.per_loop import PerLoop

_CALLS_AT_ONCE = 4


class _Questions:
    """The pending questions of an event loop: by DAG, run and task, those that are not sent yet."""

    def __init__(self) -> None:
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._unsent: dict[tuple[str, str, str], asyncio.Task[dict[str, Any]]] = {}

    async def ask(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        key = dag_id, run_id, task_id
        if key not in self._unsent:
            self._unsent[key] = asyncio.create_task(self._send(key))
        return await asyncio.shield(self._unsent[key])

    async def _send(self, key: tuple[str, str, str]) -> dict[str, Any]:
        async with self._calls:
            # A task that comes from now on was killed later, and needs a later answer.
            del self._unsent[key]
            dag_id, run_id, task_id = key
            states = await asyncio.to_thread(
                RuntimeTaskInstance.get_task_states, dag_id=dag_id, task_ids=[task_id], run_ids=[run_id]
            )
            return dict(states.get(run_id, {}))


_questions = PerLoop(_Questions)


async def states_like(task: Any) -> dict[str, Any]:
    """The states of a task instance and of all other instances of its mapped task in its run, by `name_of`."""
    return await _questions.get().ask(task.dag_id, task.run_id, task.task_id)


def name_of(task: Any) -> str:
    """The name of a task instance among these."""
    return str(task.task_id) if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
