"""Phases: what a run is at, in words that need no knowledge of its tasks."""

from __future__ import annotations

from collections.abc import Mapping

TaskCounts = Mapping[str, Mapping[str, int]]
"""How many instances of each task are in each state."""

_UNDER_WAY = frozenset(
    {"running", "deferred", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "restarting"}
)
# What a person wants to know first comes first; the words are for what stands in a task's own name.
_WORDS = (
    ("approve_spend", "waits for somebody to approve what it may cost"),
    ("read_part", "reads the source"),
    ("build_requests", "reads the source and builds the requests"),
    ("wait_for_batch", "waits for GreenNode"),
    ("submit_batch", "sends batches"),
    ("collect_results", "fetches the answers"),
    ("build_retry", "looks what to ask again"),
    ("join_results", "writes into the target"),
    ("report", "checks that all adds up"),
    ("clean_up", "cleans up at GreenNode"),
)
_STATES = {"queued": "waits for its turn", "success": "finished", "failed": "failed"}


def phase_of(state: str, tasks: TaskCounts, *, group: str) -> str:
    """What a run is at. state: of the DAG run; group: the task group that the job's tasks stand in."""
    if state != "running":
        return _STATES.get(state, state)
    prefix = f"{group}." if group else ""
    active = {task for task, states in tasks.items() if task.startswith(prefix) and not _UNDER_WAY.isdisjoint(states)}
    for name, words in _WORDS:
        mine = [task for task in active if _is(task.removeprefix(prefix), name)]
        if mine:
            again = all("up_for_retry" in tasks[task] and len(tasks[task]) == 1 for task in mine)
            return f"{words}, tried again soon" if again else words
    return "starts" if not tasks or not active else "at work"


def has_later_attempt(tasks: TaskCounts, attempt: int, *, group: str) -> bool:
    """Whether what an attempt leaves without an answer is asked again by the next one."""
    prefix = f"{group}." if group else ""
    return f"{prefix}build_retry_{attempt}" in tasks


def _is(task: str, name: str) -> bool:
    last = task.rpartition(".")[2]
    return last == name or last.startswith(f"{name}_")
