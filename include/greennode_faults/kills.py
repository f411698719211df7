"""Kills: a run that is stopped at each of its steps in turn, for good (`kill -9`) or until another has taken over.

A step is a call of the API or a file that lands in staging; the run is stopped before and after each. It is a separate
process, so nothing of it is cleaned up. A run that is only paused (a zombie: its worker was taken for dead) wakes up
after another process has done its work, and must neither pay nor lose anything then.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import greennode_batch.api.client
import greennode_batch.batches.submit
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import GreenNodeError
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import run_folder
from greennode_emulator.server import RunningEmulator
from greennode_faults.case import Case, Outcome
from greennode_faults.stage import ROWS, Answers, FastClock, make_job, needed, open_source, problems_of, rows_out

Way = Literal["kill", "pause"]
Faults = Sequence[Mapping[str, Any]]

_FAULTS: Faults = ({"kind": "missing", "rate": 0.35, "batches": 2},)
SPLIT: Faults = ({"kind": "enqueued_limit", "count": 1_000, "tokens": 180, "at": "create"},)
"""Every shard is larger than one batch may be."""
_TIMEOUT_SECONDS = 0.5
_DONE, _STOPPED = 0, 3


@dataclass(frozen=True)
class Steps:
    """Where a run can be stopped, by the number of the step. faults: what else goes wrong."""

    emulator: RunningEmulator
    wanted: Answers
    faults: Faults = _FAULTS

    def count(self) -> int:
        """How many steps an undisturbed run has; polls of running batches make it vary a little."""
        self._arm()
        with TemporaryDirectory(prefix="greennode-faults-") as folder:
            read, write = os.pipe()
            process = forked(lambda: _run(self.emulator, Path(folder), StepCounter(None, "kill"), report_to=write))
            os.close(write)
            wait_for(process)
            with os.fdopen(read) as pipe:
                return int(pipe.read() or 0)

    def stop_at(self, step: int, way: Way) -> Outcome:
        """Stop a run there, let another one finish, wake the first if it was paused, and check rows and bills."""
        self._arm()
        began = time.monotonic()
        with TemporaryDirectory(prefix="greennode-faults-") as name:
            folder = Path(name)
            first = forked(lambda: _run(self.emulator, folder, StepCounter(step, way)))
            ended = wait_for(first)
            second = wait_for(forked(lambda: _run(self.emulator, folder, StepCounter(None, way))))
            if ended == "stopped":
                os.kill(first, signal.SIGCONT)
                wait_for(first)
            # What the zombie wrote last must be right as well: check it with one more start.
            third = wait_for(forked(lambda: _run(self.emulator, folder, StepCounter(None, way))))
            rows = rows_out(folder / "answers.parquet")
        ledger = self.emulator.ledger()
        problems = [f"a start ended with {end}" for end in (second, third) if end != "done"]
        if ended == "failed":
            problems.append("the first start failed by itself")
        word = "kill -9" if way == "kill" else "paused"
        where = "" if self.faults is _FAULTS else f", {self.faults[0]['kind']}"
        name = f"at step {step}{where}{'' if ended != 'done' else ' (not reached)'}"
        case = Case(group=word, name=name, faults=self.faults)
        problems += problems_of(rows, ledger, self.wanted, case)
        return Outcome(
            case=case,
            rows_in=ROWS,
            rows_out=len(rows),
            needed=needed(ledger),
            billed=ledger["requests_billed"],
            statuses={},
            starts=3,
            seconds=time.monotonic() - began,
            problems=tuple(problems),
        )

    def _arm(self) -> None:
        self.emulator.reset()
        self.emulator.faults([dict(fault) for fault in self.faults])


class StepCounter:
    """Counts steps, and stops this process at one of them."""

    def __init__(self, stop_at: int | None, way: Way) -> None:
        self.steps = 0
        self._stop_at = stop_at
        self._signal = signal.SIGKILL if way == "kill" else signal.SIGSTOP

    def step(self) -> None:
        """Take a step, and stop there if it is the one."""
        self.steps += 1
        if self.steps == self._stop_at:
            os.kill(os.getpid(), self._signal)

    def around(self, owner: Any, name: str) -> None:
        """Take a step before and after each call of a function."""
        act = getattr(owner, name)

        def stepped(*arguments: Any, **options: Any) -> Any:
            self.step()
            result = act(*arguments, **options)
            self.step()
            return result

        setattr(owner, name, stepped)


def _run(emulator: RunningEmulator, folder: Path, counter: StepCounter, *, report_to: int | None = None) -> None:
    """The whole run, in a separate process, which may change its modules freely."""
    counter.around(GreenNodeClient, "_send")
    counter.around(greennode_batch.api.client, "download")
    counter.around(Path, "replace")
    counter.around(Path, "hardlink_to")
    # On FastClock, like all waits: how long a claim holds.
    setattr(greennode_batch.batches.submit, "_CLAIM_SECONDS", 0.3)  # noqa: B010 - mypy would have it be Final
    out = folder / "answers.parquet"
    job = make_job(out, {"attempts": 4})
    clock = FastClock()
    run = run_folder(folder / "staging", job.name, "run")
    for _ in range(3):
        try:
            with GreenNodeClient(
                emulator.base_url, emulator.api_key, timeout=_TIMEOUT_SECONDS, clock=clock, sleep=clock.sleep
            ) as client:
                run_to_file(
                    job,
                    open_source,
                    client,
                    run,
                    out,
                    run_id="run",
                    pilot_requests=0,  # the faults strike a server that is already known
                    clock=clock,
                    sleep=clock.sleep,
                )
            break
        except GreenNodeError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - for a person who looks into a failure
    else:
        os._exit(_STOPPED)
    if report_to is not None:
        os.write(report_to, str(counter.steps).encode())


def forked(work: Callable[[], None]) -> int:
    """A copy of this process that does the work and ends; returns its id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the life of the process
        work()
        code = _DONE
    finally:
        os._exit(code)


def wait_for(process: int) -> Literal["done", "killed", "stopped", "failed"]:
    """Wait until a process has ended or is paused."""
    _, status = os.waitpid(process, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return "stopped"
    if os.WIFSIGNALED(status):
        return "killed"
    return "done" if os.WEXITSTATUS(status) == _DONE else "failed"


def each_step(steps: Steps, way: Way, *, stride: int = 1, first: int = 1) -> Iterator[Outcome]:
    """The outcomes of stops at every step, or at every so many-th."""
    for step in range(first, steps.count() + 1, stride):
        yield steps.stop_at(step, way)
