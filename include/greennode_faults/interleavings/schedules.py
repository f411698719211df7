"""Schedules: which worker goes on. One is paused for the whole lives of all others, or each goes on at random."""

from __future__ import annotations

import random
from collections.abc import Sequence

from greennode_faults.interleavings.workers import VirtualClock, Worker


class HoldUp:
    """The first worker is stopped before one of its steps, and woken when all others are done."""

    def __init__(self, first: int, step: int, *, late_seconds: float = 0.0) -> None:
        """late_seconds: extra time before it is woken."""
        self._first = first
        self._step = step
        self._late_seconds = late_seconds
        self._woken = False
        self.was_reached = False

    def choose(self, able: Sequence[Worker], asleep: Sequence[Worker], clock: VirtualClock) -> Worker | None:
        """The first one up to the step, then the others, then the first one again."""
        first = next((worker for worker in able if worker.index == self._first), None)
        others = [worker for worker in able if worker is not first]
        if first is not None and not self.was_reached and first.steps == self._step:
            self.was_reached = True
        if not self.was_reached:
            # No other worker begins before; while it sleeps, time passes. If it ends before that step, the others
            # follow.
            is_asleep = any(worker.index == self._first for worker in asleep)
            return first if first is not None or is_asleep else others[0]
        if others or any(worker.index != self._first for worker in asleep):
            return others[0] if others else None
        if not self._woken:
            self._woken = True
            clock.now += self._late_seconds
        return first


class AtRandom:
    """Any worker that can go on does; now and then much time passes."""

    _LATER = (1.0, 31.0, 46.0, 91.0, 400.0, 4000.0)

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to find faults by, and to play them again
        self._changes = self._random.choice((0.02, 0.1, 0.3, 0.6))
        self._jumps = self._random.choice((0.0, 0.0, 0.01, 0.05))
        self._now: int | None = None

    def choose(self, able: Sequence[Worker], asleep: Sequence[Worker], clock: VirtualClock) -> Worker | None:
        """The current worker, mostly."""
        if self._jumps and self._random.random() < self._jumps:
            clock.now += self._random.choice(self._LATER)
        present = next((worker for worker in able if worker.index == self._now), None)
        if present is None or self._random.random() < self._changes:
            present = self._random.choice(able)
            self._now = present.index
        return present
