"""Waits for a run, and prints one line for each change."""

import time
from collections.abc import Callable, Mapping

from greennode_local.airflow_client import DAG_RUN_ENDS, AirflowClient
from greennode_local.emulator import BatchCounts
from greennode_local.local_error import LocalError
from greennode_local.stack import LocalStack

# In the order in which a task passes through them.
_STATES = ("none", "scheduled", "queued", "running", "deferred", "up_for_retry", "upstream_failed", "failed", "skipped")
_LOG_LINES = 30


def describe(states: Mapping[str, int], batches: BatchCounts) -> str:
    """`tasks: 1 running, 1 deferred, 2 success; batches: 1, requests done: 120 of 326`."""
    shown = [state for state in _STATES if states.get(state)] + sorted(set(states) - set(_STATES))
    tasks = ", ".join(f"{states[state]} {'waiting' if state == 'none' else state}" for state in shown)
    line = f"tasks: {tasks or 'none yet'}"
    if batches.batches:
        line += f"; batches: {batches.batches}, requests done: {batches.completed} of {batches.total}"
    return line


def watch_run(stack: LocalStack, dag_id: str, run_id: str, *, say: Callable[[str], None], seconds: float) -> None:
    """Wait for the run's success. A failure raises with the end of the failed tasks' logs."""
    client = stack.airflow.client
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        state = client.dag_run(dag_id, run_id)["state"]
        line = describe(client.states(dag_id, run_id), stack.emulator.batch_counts())
        if line != last:
            say(line)
            last = line
        if state in DAG_RUN_ENDS:
            break
        stack.check()
        if time.monotonic() > deadline:
            raise LocalError(
                f"{dag_id} is still {state} after {seconds:.0f} s: {last}\n{failed_logs(client, dag_id, run_id)}"
            )
        time.sleep(0.4)
    if state != "success":
        raise LocalError(f"the run of {dag_id} failed\n{failed_logs(client, dag_id, run_id)}")


def failed_logs(client: AirflowClient, dag_id: str, run_id: str) -> str:
    """The end of the log of each task that failed or will be tried again."""
    parts = []
    for task in client.task_instances(dag_id, run_id):
        if task["state"] not in {"failed", "up_for_retry"}:
            continue
        log = client.task_log(
            dag_id, run_id, task["task_id"], map_index=task["map_index"], try_number=task["try_number"]
        )
        name = task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"
        end = "\n".join(f"    {line}" for line in log.splitlines()[-_LOG_LINES:])
        parts.append(f"{name}, try {task['try_number']}: {task['state']}. The end of its log:\n{end}")
    return "\n".join(parts)
