"""Scene: one run of a pipeline on the real Airflow, what happens to it, and its outcome."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from greennode_batch.staging.folders import safe_name
from greennode_batch.state.run_report import RunReport
from greennode_faults.airflow_stage import SHARDS, AirflowStage
from greennode_faults.stage import FINISH_BY
from greennode_local.airflow_client import DAG_RUN_ENDS, AirflowClient
from greennode_local.local_error import LocalError
from greennode_local.processes import kill, wait_until
from greennode_local.run_progress import failed_logs

BUILD = "build_requests"
SUBMIT = "attempt_1.submit_batch"
WAIT = "attempt_1.wait_for_batch"
COLLECT = "attempt_1.collect_results"
RETRY = "build_retry_1"
JOIN = "join_results"
REPORT = "report"

_SECONDS = 120.0
# A retry searches for a create that was never accepted for 90 seconds, and a dead worker is noticed after 8. A run with
# a deadline is given its time, and some more.
_RUN_SECONDS = FINISH_BY.total_seconds() + 120.0
# How long a claim may be used, and a little more.
_CLAIM_SECONDS = 32.0
_TAKEN_UP = frozenset({"running", "deferred", "success"})
_PAID = ("batches_created", "requests_billed", "files_uploaded", "chat_requests_billed")


@dataclass(frozen=True)
class Worker:
    """A worker of LocalExecutor that runs a task: its supervisor, and the task's process with its children."""

    supervisor: psutil.Process
    task: tuple[psutil.Process, ...]

    def pause(self) -> None:
        """Pause all of it: heartbeats stop, and connections stay open."""
        for process in (self.supervisor, *self.task):
            process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Resume it, the task first: its supervisor will have to end it, and must not come before."""
        _continue(self.task)
        psutil.wait_procs(self.task, timeout=3)
        _continue([self.supervisor])

    def is_busy(self) -> bool:
        """Whether the task's process still exists."""
        return any(_is_alive(process) for process in self.task)


class Scene:
    """A run on an empty lane. Close it: then nothing stays paused, locked or armed."""

    def __init__(self, stage: AirflowStage, dag_id: str) -> None:
        self.stage = stage
        self.dag_id = dag_id
        self.run_id = ""
        self.problems: list[str] = []
        self.lane = stage.lanes[dag_id]
        self._locks = stage.stack.warehouse()
        self._paused: list[Worker] = []
        self._down = ExitStack()
        self.lane.clear(self._locks)

    @property
    def airflow(self) -> AirflowClient:
        """What asks Airflow."""
        return self.stage.stack.airflow.client

    def close(self) -> None:
        """Undo all changes to the deployment, and end the run if it has not ended."""
        self.release()
        self.wake()
        self._down.close()
        self._locks.close()
        if self.run_id and self.airflow.dag_run(self.dag_id, self.run_id)["state"] not in DAG_RUN_ENDS:
            self.airflow.set_run_state(self.dag_id, self.run_id, "failed")
            self._until(lambda: not self._workers(None), "the end of all processes of the run")

    # Preparations.

    def arm(self, *faults: Mapping[str, Any]) -> None:
        """Arm faults of the emulator."""
        self.lane.emulator.faults([dict(fault) for fault in faults])

    def lock(self, statement: str) -> None:
        """Run a statement on the warehouse and leave its transaction open."""
        self._locks.execute(statement.encode())

    def release(self) -> None:
        """Disarm all faults, and release all locks."""
        self.lane.emulator.disarm()
        self._locks.rollback()

    def start(self) -> None:
        """Start the run."""
        self.run_id = self.airflow.trigger(self.dag_id)

    # Waits.

    def until_called(self, endpoint: str, times: int = SHARDS) -> None:
        """Wait until the server has received so many calls."""
        self._until(
            lambda: self.lane.emulator.ledger(summary=True)["calls"].get(endpoint, 0) >= times, f"a call of {endpoint}"
        )

    def until_polled(self, times: int) -> None:
        """Wait until batches were polled so often, singly or by the list."""
        looks = ("GET /batches/{id}", "GET /batches")
        self._until(lambda: sum(self.called(endpoint) for endpoint in looks) >= times, "a poll of a batch")

    def until_counted(self, name: str, times: int = SHARDS) -> None:
        """Wait until the ledger's total reaches this value."""
        self._until(lambda: self.lane.emulator.ledger(summary=True)[name] >= times, name)

    def until_blocked(self, times: int = SHARDS) -> None:
        """Wait until so many connections to the warehouse wait for a lock."""
        question = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

        def is_blocked() -> bool:
            with self.stage.stack.warehouse() as connection:
                return connection.execute(question).fetchone() == (times,)

        self._until(is_blocked, "a task that waits for a lock")

    def until(self, task_id: str, *states: str, times: int = SHARDS) -> None:
        """Wait until so many instances of a task are in one of these states."""
        self._until(
            lambda: sum(task["state"] in states for task in self.tasks(task_id)) >= times,
            f"{task_id} being {' or '.join(states)}",
        )

    def until_tried(self, task_id: str, number: int = 2, *, times: int = SHARDS) -> None:
        """Wait until so many instances of a task have begun their n-th try."""
        self._until(
            lambda: sum(t["try_number"] >= number and t["state"] in _TAKEN_UP for t in self.tasks(task_id)) >= times,
            f"try {number} of {task_id}",
        )

    def pause_at_claim(self) -> None:
        """Start the run, and pause its submitting workers when one has claimed a create but not sent it yet.

        The storage is paused meanwhile: it has the claim, but has not replied.
        """
        self.start()
        storage = self.stage.store.service
        assert storage is not None, "the storage runs"
        try:
            # Between the claim and the create are two short calls of the storage.
            self._until(lambda: bool(self._claims()), "a claim", poll_seconds=0.0005)
            storage.process.send_signal(signal.SIGSTOP)
            self.pause(SUBMIT)
        finally:
            storage.process.send_signal(signal.SIGCONT)

    def until_void(self) -> None:
        """Wait until the claims are so old that their holders must not use them any more."""
        self._until(
            lambda: all(time.time() - claim.stat().st_mtime > _CLAIM_SECONDS for claim in self._claims()), "old claims"
        )

    def finish(self, state: str = "success") -> None:
        """Wait for the run's end, and record an unexpected one."""
        found = self.airflow.wait_for_run(self.dag_id, self.run_id, seconds=_RUN_SECONDS)
        if found != state:
            logs = failed_logs(self.airflow, self.dag_id, self.run_id)
            self.problems.append(f"the run ended as {found}" + (f"\n{logs}" if found == "failed" else ""))

    def tasks(self, task_id: str) -> list[dict[str, Any]]:
        """A task's instances, as Airflow shows them."""
        found = self.airflow.task_instances(self.dag_id, self.run_id)
        return [task for task in found if task["task_id"] == task_id]

    def report(self) -> RunReport:
        """The run's report, on the disk that the storage serves."""
        (path,) = self.stage.store.folder.glob(f"*/*/{self.dag_id}/{safe_name(self.run_id)}/report.json")
        return msgspec.json.decode(path.read_bytes(), type=RunReport)

    def events(self) -> int:
        """How often the run has reported its target as new."""
        return self.airflow.asset_events(self.dag_id, self.run_id)

    def paid(self) -> dict[str, int]:
        """What was sent and billed so far."""
        ledger = self.lane.emulator.ledger(summary=True)
        return {name: ledger[name] for name in _PAID}

    def called(self, endpoint: str) -> int:
        """How many calls the server has received."""
        calls: dict[str, int] = self.lane.emulator.ledger(summary=True)["calls"]
        return calls.get(endpoint, 0)

    # Actions.

    def kill(self, task_id: str) -> None:
        """`kill -9` the workers that run a task, with all their children."""
        for worker in self._workers(task_id, at_least=1):
            kill([worker.supervisor, *worker.task])

    def pause(self, task_id: str) -> None:
        """SIGSTOP them."""
        for worker in self._workers(task_id, at_least=1):
            worker.pause()
            self._paused.append(worker)

    def wake(self) -> None:
        """Resume the paused workers, and wait until they have ended."""
        while self._paused:
            worker = self._paused.pop()
            worker.wake()
            self._until(lambda worker=worker: not worker.is_busy(), "the end of a worker that was paused")  # type: ignore[misc]

    def clear(self, task_id: str, *, downstream: bool = False) -> None:
        """Clear a task, with all its instances, as a user does."""
        if not self.airflow.clear(self.dag_id, self.run_id, [task_id], downstream=downstream):
            self.problems.append(f"no instance of {task_id} was cleared")

    def mark(self, task_id: str, state: str) -> None:
        """Mark each instance of a task, as a user does."""
        for task in self.tasks(task_id):
            self.airflow.set_state(self.dag_id, self.run_id, task_id, state, map_index=task["map_index"])

    def mark_run(self, state: str) -> None:
        """Mark the whole run, as a user does."""
        self.airflow.set_run_state(self.dag_id, self.run_id, state)

    def clear_run(self, *, only_failed: bool = False) -> None:
        """Clear the whole run, or its failed tasks, as a user does."""
        self.airflow.clear_run(self.dag_id, self.run_id, only_failed=only_failed)

    def kill_component(self, component: str) -> None:
        """`kill -9` one of Airflow's processes, with all its children."""
        self.stage.stack.airflow.kill(component)
        self._down.callback(self.stage.stack.airflow.start, component)

    def stop_storage(self) -> None:
        """Make the staging area unreachable."""
        self.stage.store.stop()
        self._down.callback(self.stage.store.start)

    def restore(self) -> None:
        """Start what was killed or stopped again."""
        self._down.close()

    def expect(self, holds: bool, words: str) -> None:  # noqa: FBT001 - the condition reads as a sentence
        """Record a promise that was not kept."""
        if not holds:
            self.problems.append(words)

    def _workers(self, task_id: str | None, *, at_least: int = 0) -> list[Worker]:
        """The workers that run a task now; of all tasks if no task is named."""
        scheduler = next(one for one in self.stage.stack.airflow.services if one.name == "scheduler")
        children = {process.pid: process for process in scheduler.family() if _is_alive(process)}
        workers = []
        for task in self.airflow.task_instances(self.dag_id, self.run_id):
            process = children.get(task["pid"])
            if process is None or task_id not in {None, task["task_id"]}:
                continue
            with suppress(psutil.NoSuchProcess):  # it has ended since
                supervisor = process.parent()
                if supervisor is not None:
                    workers.append(Worker(supervisor, (process, *process.children(recursive=True))))
        if len(workers) < at_least:
            raise LocalError(f"no worker runs {task_id}")
        return workers

    def _claims(self) -> list[Path]:
        """The run's claims, on the disk that the storage serves."""
        return list(
            self.stage.store.folder.glob(f"*/*/{self.dag_id}/{safe_name(self.run_id)}/shards/*/creating.*.json")
        )

    def _until(self, ready: Callable[[], bool], what: str, *, poll_seconds: float = 0.1) -> None:
        wait_until(ready, what=what, seconds=_SECONDS, poll_seconds=poll_seconds)


@contextmanager
def playing(stage: AirflowStage, dag_id: str) -> Iterator[Scene]:
    """A scene that is closed at the end."""
    scene = Scene(stage, dag_id)
    try:
        yield scene
    finally:
        scene.close()


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _continue(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
