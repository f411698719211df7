"""What a step takes: CPU and wall seconds of its parts, and the most memory that its process had."""

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
    """Adds up what is run under each name. What runs under another one inside counts there alone."""

    def __init__(self) -> None:
        self.parts: dict[str, Taken] = {}
        self._under_way: list[Taken] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what runs inside to this part."""
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
    """Of this process: `VmHWM`, the most it ever had in memory, or `VmRSS`, what it has now."""
    # Not ru_maxrss: that of a child begins with what its parent had.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(what)
