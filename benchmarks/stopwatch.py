"""The cost of a step: CPU and wall seconds of its parts, and the most memory that its process had."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Taken(msgspec.Struct):
    """Seconds of one part. cpu: of all threads of the process."""

    cpu: float = 0.0
    wall: float = 0.0


class Stopwatch:
    """Adds up the time under each name. Time under an inner name counts there alone."""

    def __init__(self) -> None:
        self.parts: dict[str, Taken] = {}
        self._under_way: list[Taken] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside as this part's."""
        taken = self.parts.setdefault(part, Taken())
        self._under_way.append(taken)
        began_cpu, began_wall = time.process_time(), time.perf_counter()
        yield
        cpu, wall = time.process_time() - began_cpu, time.perf_counter() - began_wall
        self._under_way.pop()
        taken.cpu += cpu
        taken.wall += wall
        for outer in self._under_way[-1:]:
            outer.cpu -= cpu
            outer.wall -= wall


def memory_mb(what: str) -> float:
    """Of this process: `VmHWM`, its highest memory use, or `VmRSS`, its current one."""
    # Not ru_maxrss: a child's starts with its parent's.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(what)
