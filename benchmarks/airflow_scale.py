"""From table to table through a real Airflow with LocalExecutor: time by step, and the memory of each task."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil
from own_process import run_step

from greennode_local.airflow_client import AirflowClient
from greennode_local.run_progress import watch_run
from greennode_local.stack import WAREHOUSE, LocalStack

DAG = "bench_table"
TABLE = "bench_answers"
DAGS = Path(__file__).parent / "airflow_dags"
_TIMEOUT_SECONDS = 3 * 3600.0
# Airflow gives a task's process this title, followed by the id of the task instance, cut to the length of the
# scheduler's command line.
_TITLE = "airflow worker -- "
_SAMPLE_SECONDS = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class TaskSteps:
    """All task instances of one task id. Seconds from the start of the run; peak of the largest process."""

    tasks: int = 0
    began: float = float("inf")
    ended: float = 0.0
    worked: float = 0.0
    cpu: float = 0.0
    peak_mb: float = 0.0


@dataclass
class AirflowFigures:
    """What one run took."""

    rows: int
    wall_seconds: float
    idle_seconds: float
    steps: dict[str, TaskSteps] = field(default_factory=dict)


def measure_airflow(folder: Path, rows: int, *, say: Callable[[str], None]) -> AirflowFigures:
    """Run the DAG once over all rows of the folder, in a separate deployment."""
    with LocalStack(folder / "stack", dags_folder=DAGS, batch_seconds=0, fresh=True, say=say) as stack:
        dsn = stack.postgres.dsn(WAREHOUSE)
        run_step(folder, "made_rows.load_table", dsn=dsn)
        stack.wait_until_ready({DAG})
        client = stack.airflow.client
        client.unpause(DAG)
        with RunSampler() as sampler:
            run_id = client.trigger(DAG)
            watch_run(stack, DAG, run_id, say=say, seconds=_TIMEOUT_SECONDS)
        figures = airflow_figures(client, DAG, run_id, rows, sampler.seen)
        run_step(folder, "checked_rows.check_emulated_table", TABLE, dsn=dsn)
    return figures


class RunSampler:
    """Samples all tasks' processes, some times a second. seen: MB and CPU seconds of each, by task instance."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[float, float]]] = {}
        self._latest: dict[tuple[str, int], tuple[float, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        for (instance, _pid), sample in self._latest.items():
            self.seen.setdefault(instance, []).append(sample)

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            for pid in psutil.pids():
                title = _read(pid, "cmdline").split("\0", 1)[0]
                if title.startswith(_TITLE) and "LocalExecutor" not in title:
                    self._poll(pid, title.removeprefix(_TITLE).strip())

    def _poll(self, pid: int, instance: str) -> None:
        for line in _read(pid, "status").splitlines():
            if line.startswith("VmHWM:"):
                fields = _read(pid, "stat").rpartition(")")[2].split()
                cpu = (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0
                self._latest[instance, pid] = (int(line.split()[1]) / 1024, cpu)


def _read(pid: int, name: str) -> str:
    """A file of /proc; empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def airflow_figures(
    client: AirflowClient, dag_id: str, run_id: str, rows: int, seen: Mapping[str, list[tuple[float, float]]]
) -> AirflowFigures:
    """What a run took that has ended. seen: as the sampler has it."""
    run = client.dag_run(dag_id, run_id)
    start = datetime.fromisoformat(run["start_date"])
    wall = (datetime.fromisoformat(run["end_date"]) - start).total_seconds()
    steps: dict[str, TaskSteps] = {}
    spans = []
    for task in client.task_instances(dag_id, run_id):
        if task["start_date"] is None or task["state"] == "skipped":
            continue
        began, ended = (
            (datetime.fromisoformat(task[name]) - start).total_seconds() for name in ("start_date", "end_date")
        )
        spans.append((began, ended))
        step = steps.setdefault(task["task_id"], TaskSteps())
        step.tasks += 1
        step.began, step.ended = min(step.began, began), max(step.ended, ended)
        step.worked += ended - began
        for instance, samples in seen.items():
            if task["id"].startswith(instance):
                step.peak_mb = max(step.peak_mb, *(peak_mb for peak_mb, _cpu in samples))
                step.cpu += sum(cpu for _peak_mb, cpu in samples)
    ordered = dict(sorted(steps.items(), key=lambda one: one[1].began))
    return AirflowFigures(rows, wall, wall - _covered(spans), ordered)


def _covered(spans: list[tuple[float, float]]) -> float:
    """The seconds in which at least one of them ran."""
    covered = reached = 0.0
    for began, ended in sorted(spans):
        covered += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return covered


def airflow_table(figures: AirflowFigures) -> Iterator[str]:
    """One line a step."""
    yield f"{figures.rows:,} rows from table to table through Airflow: {figures.wall_seconds:.0f} s"
    yield f"  {'':<26} {'tasks':>6} {'from s':>8} {'to s':>8} {'task s':>8} {'CPU s':>8} {'peak MB':>8}"
    for name, step in figures.steps.items():
        yield (
            f"  {name:<26} {step.tasks:>6} {step.began:>8.1f} {step.ended:>8.1f} {step.worked:>8.1f} "
            f"{step.cpu:>8.1f} {step.peak_mb:>8.0f}"
        )
    yield f"  in {figures.idle_seconds:.1f} s of the run no task was at work"
