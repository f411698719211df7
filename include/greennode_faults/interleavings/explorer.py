"""The explorer: plays scenes under every single hold-up, and under random schedules; what became of rows and money."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow.parquet as pq

from greennode_batch.errors import GreenNodeError
from greennode_batch.staging.folders import ShardFolder, fresh_names
from greennode_batch.state.attempts import FIRST_ATTEMPT
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.run_report import RunReport
from greennode_faults.interleavings.ground import Ground
from greennode_faults.interleavings.scenes import Scene, finish, job_of
from greennode_faults.interleavings.workers import Crew, VirtualClock, Worker

_CLAIM_SECONDS = 30.0
"""For so long a create may be sent after its claim was checked."""
_FINISHING_STARTS = 3

Kind = Literal["hold-up", "random"]


class HoldUp:
    """The first worker is stopped before one of its steps, and woken when all others are done."""

    def __init__(self, first: int, step: int, *, late_seconds: float = 0.0) -> None:
        """late_seconds: what passes beside that before it is woken."""
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
            # Nobody else begins before; while it sleeps, time passes. If it ends before that step, the others follow.
            is_asleep = any(worker.index == self._first for worker in asleep)
            return first if first is not None or is_asleep else others[0]
        if others or any(worker.index != self._first for worker in asleep):
            return others[0] if others else None
        if not self._woken:
            self._woken = True
            clock.now += self._late_seconds
        return first


class AtRandom:
    """Any worker that is able goes on; now and then much time passes."""

    _LATER = (1.0, 31.0, 46.0, 91.0, 400.0, 4000.0)

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to find faults by, and to play them again
        self._changes = self._random.choice((0.02, 0.1, 0.3, 0.6))
        self._jumps = self._random.choice((0.0, 0.0, 0.01, 0.05))
        self._now: int | None = None

    def choose(self, able: Sequence[Worker], asleep: Sequence[Worker], clock: VirtualClock) -> Worker | None:
        """The one that is at work, mostly."""
        if self._jumps and self._random.random() < self._jumps:
            clock.now += self._random.choice(self._LATER)
        present = next((worker for worker in able if worker.index == self._now), None)
        if present is None or self._random.random() < self._changes:
            present = self._random.choice(able)
            self._now = present.index
        return present


@dataclass(frozen=True)
class Played:
    """One schedule and its outcome. problems: in words.

    in_window: a worker was stopped between the check of its claim and the first byte of its create, for longer than the
    claim held, so that it made a second batch; paid_in_window: which ended before it could cancel it.
    """

    scene: str
    kind: Kind
    number: int
    problems: tuple[str, ...]
    in_window: bool
    paid_in_window: bool
    steps: int

    @property
    def name(self) -> str:
        """What to play again."""
        return f"{self.scene}, {self.kind} {self.number}"


class Explorer:
    """Plays one scene on one ground."""

    def __init__(self, ground: Ground, scene: Scene) -> None:
        self._ground = ground
        self._scene = scene
        ground.begin(scene.trouble)
        crew = ground.play([lambda: scene.prepare(ground)], HoldUp(0, -1))
        if crew.workers[0].error is not None:
            raise crew.workers[0].error
        self._again = ground.snapshot()

    def hold_ups(self, *, stride: int = 1) -> Iterator[Played]:
        """Each worker in turn is stopped before each of its steps, while the others live their whole lives.

        stride: only before each so many-th.
        """
        for first in range(len(self._scene.works)):
            for step in range(1, 10_000, stride):
                schedule = HoldUp(first, step)
                played = self._play("hold-up", first * 10_000 + step, schedule)
                if not schedule.was_reached:
                    break
                yield played

    def at_random(self, seeds: Sequence[int]) -> Iterator[Played]:
        """One schedule for each seed."""
        for seed in seeds:
            yield self._play("random", seed, AtRandom(seed))

    def _play(self, kind: Kind, number: int, schedule: HoldUp | AtRandom) -> Played:
        self._again()
        ground, scene = self._ground, self._scene
        works = [lambda work=work, index=index: work(ground, index) for index, work in enumerate(scene.works)]
        self.crew = crew = ground.play(works, schedule)
        problems = _unexpected(crew)
        problems += self._finish()
        in_window = self._is_in_window(crew)
        twice = self._paid_twice()
        strays = self._strays()
        if twice and not in_window:
            problems.append(f"{len(twice)} answers paid for twice")
        if strays:
            problems.append(f"{', '.join(strays)}: a second batch, and nobody cancelled it")
        steps = sum(worker.steps for worker in crew.workers)
        return Played(str(scene), kind, number, tuple(problems), in_window, in_window and bool(twice), steps)

    def _finish(self) -> list[str]:
        """Let one more start take the run to its end; what is wrong then."""
        made: list[RunReport] = []
        ground, error = self._ground, None
        for _ in range(_FINISHING_STARTS):
            last = ground.play([lambda: made.append(finish(ground, self._scene))], HoldUp(0, -1)).workers[0]
            error = last.error
            if error is None:
                break
        ground.api.settle(whole=True)
        return self._lost() if made else [f"the run cannot be finished: {type(error).__name__}: {error}"]

    def _paid_twice(self) -> list[str]:
        api = self._ground.api
        return [one for one, times in api.billed.items() if times > api.wasted[one] + 1]

    def _strays(self) -> list[str]:
        """Batches that no receipt tells of, and that nobody wanted to be cancelled."""
        api, run = self._ground.api, self._ground.run
        known: set[str | None] = set()
        for attempt in range(FIRST_ATTEMPT, job_of(self._ground).attempts + 1):
            folder = run.shard("any", attempt=attempt).path.parent
            for receipt in (read_receipt(ShardFolder(folder / name)) for name in fresh_names(folder)):
                known.update((receipt.batch_id, *receipt.over_capacity) if receipt is not None else ())
        return sorted(api.batches.keys() - known - api.given_up)

    def _lost(self) -> list[str]:
        api, problems = self._ground.api, []
        rows = pq.read_table(self._ground.out, columns=["id", "status", "custom_id"]).to_pylist()
        wanted = [sorted(key for key, _ in source) for source in (self._scene.rows, self._scene.before or ())]
        if sorted(row["id"] for row in rows) not in wanted:
            problems.append(f"the target has rows {sorted(row['id'] for row in rows)}")
        bad = [row["id"] for row in rows if row["status"] != "succeeded"]
        if bad:
            problems.append(f"rows without their answers: {bad}")
        strangers = api.billed.keys() - {row["custom_id"] for row in rows}
        if strangers:
            problems.append(f"{len(strangers)} answers paid for that no row asks for")
        return problems

    def _is_in_window(self, crew: Crew) -> bool:
        late = [seconds for _, what, seconds in crew.holds if what == "POST /batches" and seconds > _CLAIM_SECONDS]
        return bool(late)


def _unexpected(crew: Crew) -> list[str]:
    """Errors that are none of those which a worker may end with."""
    return [
        f"worker {worker.index} ended with {type(worker.error).__name__}: {worker.error}"
        for worker in crew.workers
        if worker.error is not None and not isinstance(worker.error, GreenNodeError)
    ]
