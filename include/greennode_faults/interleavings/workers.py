"""Workers: threads, one of which runs at a time, on one virtual clock. They switch only where one takes a step.

Nothing here sleeps, and the operating system decides nothing: the same schedule runs the same way each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

_TICK_SECONDS = 0.01
_MAX_STEPS = 30_000

_local = threading.local()
_real_time, _real_monotonic, _real_sleep = time.time, time.monotonic, time.sleep


class StoppedError(BaseException):
    """The schedule ended before this worker did: it went on for ever."""


class VirtualClock:
    """Epoch seconds that pass only by steps and sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Now."""
        return self.now


class Schedule(Protocol):
    """Decides who takes the next step."""

    def choose(self, able: Sequence[Worker], asleep: Sequence[Worker], clock: VirtualClock) -> Worker | None:
        """One of the workers that can go on; None lets time pass until the next sleeping worker wakes."""


class Worker:
    """One thread. index: its number. stands: the step that it is about to take."""

    def __init__(self, index: int, work: Callable[[], None]) -> None:
        self.index = index
        self.stands = "its start"
        self.steps = 0
        self.asleep_until = 0.0
        self.is_done = False
        self.error: BaseException | None = None
        self._work = work
        self._go = threading.Lock()
        self._go.acquire()

    def wake(self) -> None:
        """Let its thread run."""
        self._go.release()

    def wait(self) -> None:
        """Stop this worker's thread until it is woken."""
        self._go.acquire()

    def run(self, crew: Crew) -> None:
        """Do the work, in its own thread."""
        _local.worker, _local.crew = self, crew
        self.wait()
        try:
            if not crew.is_stopped:
                self._work()
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - what a worker ends with is part of the outcome
            self.error = error
        finally:
            self.is_done = True
            crew.leave()


class Crew:
    """Some workers, and which of them runs."""

    def __init__(self, works: Sequence[Callable[[], None]], schedule: Schedule, clock: VirtualClock) -> None:
        self.workers = [Worker(index, work) for index, work in enumerate(works)]
        self.clock = clock
        self.is_stopped = False
        self.trace: list[tuple[int, str]] = []
        self.holds: list[tuple[int, str, float]] = []
        self._schedule = schedule
        self._over = threading.Lock()
        self._over.acquire()

    def run(self) -> None:
        """Run all workers to their ends."""
        threads = [threading.Thread(target=worker.run, args=(self,), daemon=True) for worker in self.workers]
        for thread in threads:
            thread.start()
        self._pass_on(None)
        self._over.acquire()
        for thread in threads:
            thread.join()

    def step(self, worker: Worker, what: str) -> None:
        """A worker is about to do something that others can see: it may have to wait here."""
        if self.is_stopped:
            raise StoppedError
        worker.stands = what
        worker.steps += 1
        if worker.steps > _MAX_STEPS:
            self.is_stopped = True
        before = self.clock.now
        self._pass_on(worker)
        if self.is_stopped:
            raise StoppedError
        self.holds.append((worker.index, what, self.clock.now - before))
        self.clock.now += _TICK_SECONDS
        self.trace.append((worker.index, what))

    def sleep(self, worker: Worker, seconds: float) -> None:
        """A worker lets time pass."""
        worker.asleep_until = self.clock.now + max(0.0, seconds)
        self.step(worker, f"a sleep of {seconds:.1f} s")

    def leave(self) -> None:
        """A worker is done."""
        self._pass_on(None)

    def _pass_on(self, worker: Worker | None) -> None:
        chosen = self._next()
        if chosen is worker and worker is not None:
            return
        if chosen is None:
            if worker is None:
                self._over.release()
            return
        chosen.wake()
        if worker is not None:
            worker.wait()

    def _next(self) -> Worker | None:
        left = [worker for worker in self.workers if not worker.is_done]
        if not left:
            return None
        if self.is_stopped:
            return left[0]
        while True:
            able = [worker for worker in left if worker.asleep_until <= self.clock.now]
            asleep = [worker for worker in left if worker.asleep_until > self.clock.now]
            chosen = self._schedule.choose(able, asleep, self.clock) if able else None
            if chosen is not None:
                return chosen
            if not asleep:
                raise AssertionError("a schedule lets no worker go on")
            self.clock.now = min(worker.asleep_until for worker in asleep)


def step(what: str) -> None:
    """A step of the worker whose thread this is; nothing in any other thread."""
    worker = getattr(_local, "worker", None)
    if worker is not None and not worker.is_done:
        _local.crew.step(worker, what)


def is_worker() -> bool:
    """Whether this thread is a worker's."""
    return getattr(_local, "worker", None) is not None


def worker_index() -> int:
    """The number of the worker whose thread this is."""
    return int(_local.worker.index)


def sleep(seconds: float) -> None:
    """Let virtual time pass for the worker whose thread this is."""
    _local.crew.sleep(_local.worker, seconds)


@contextmanager
def virtual_time() -> Iterator[None]:
    """Inside, workers see virtual time in `time`, and all other threads the real one."""

    def now(real: Callable[[], float]) -> Callable[[], float]:
        def told_time() -> float:
            return float(_local.crew.clock.now) if is_worker() else real()

        return told_time

    def pause(seconds: float) -> None:
        (sleep if is_worker() else _real_sleep)(seconds)

    changed: dict[str, Any] = {"time": now(_real_time), "monotonic": now(_real_monotonic), "sleep": pause}
    before = {name: getattr(time, name) for name in changed}
    try:
        for name, function in changed.items():
            setattr(time, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(time, name, function)
