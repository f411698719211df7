"""Runs a step in a separate process, so that its memory and CPU time count alone."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


class StepError(Exception):
    """A step failed; the message is its output."""


@dataclass(frozen=True)
class Measured:
    """Seconds of CPU and of wall time by part of the step, and the peak of its process's memory.

    rows: what the step returned, if it counts rows.
    """

    cpu: Mapping[str, float]
    wall: Mapping[str, float]
    started_mb: float
    peak_mb: float
    rows: int | None


def run_step(
    folder: Path, step: str, *arguments: object, dsn: str = "", profile: Path | None = None, project: Path = PROJECT
) -> Measured:
    """Run `module.function` on the folder. Its imports count only for memory.

    profile: a file to write a profile to; project: the checkout whose steps and engine run. The program around them is
    this checkout's, so that two checkouts are measured alike.
    """
    program = PROJECT / "benchmarks" / "one_step.py"
    # -P: else Python looks for all modules of benchmarks/ beside the program first.
    command = [sys.executable, "-P", str(program), str(folder), step, json.dumps(arguments, default=str)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(project / root) for root in ("benchmarks", "include", "plugins")),
        "BENCH_DSN": dsn,
        "BENCH_PROFILE": str(profile or ""),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        raise StepError(f"{step} failed:\n{done.stderr[-3000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    return Measured(
        cpu={name: taken["cpu"] for name, taken in said["parts"].items()},
        wall={name: taken["wall"] for name, taken in said["parts"].items()},
        started_mb=said["started_mb"],
        peak_mb=said["peak_mb"],
        rows=said["rows"],
    )


@dataclass(frozen=True)
class MeasuredCommand:
    """A whole command, including its imports."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


def run_command(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout_seconds: float
) -> MeasuredCommand:
    """Run a command and its children to the end. Raises StepError with the end of its output."""
    log = cwd / "command.log"
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=dict(env), cwd=cwd, stdout=out, stderr=subprocess.STDOUT)
        try:
            status, usage = _wait(process.pid, began + timeout_seconds)
        except BaseException as error:
            process.kill()
            process.wait()
            if not isinstance(error, TimeoutError):
                raise
            raise StepError(f"{command[-1]}: not done after {timeout_seconds:.0f} s:\n{_end_of(log)}") from None
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise StepError(f"exit code {process.returncode}:\n{_end_of(log)}")
    return MeasuredCommand(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def _wait(pid: int, until: float) -> tuple[int, resource.struct_rusage]:
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage
        if time.perf_counter() > until:
            raise TimeoutError
        time.sleep(0.05)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
