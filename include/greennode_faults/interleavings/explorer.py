"""The explorer: plays a scene under every single hold-up, and under random schedules, and judges each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from greennode_batch.batches.submit import SETTLE_SECONDS
from greennode_batch.errors import GreenNodeError
from greennode_faults.interleavings.end_result import Verdicts, alone
from greennode_faults.interleavings.ground import Ground, is_locked
from greennode_faults.interleavings.scene import Scene
from greennode_faults.interleavings.schedules import AtRandom, HoldUp
from greennode_faults.interleavings.workers import Crew, Schedule

_CLAIM_SECONDS = 30.0
"""How long after its claim was taken a create may be sent."""

Kind = Literal["hold-up", "random"]


@dataclass(frozen=True)
class Played:
    """One schedule and its outcome. problems: in words. needed, billed: requests.

    in_window: a worker was stopped between the check of its claim and the first byte of its create, until others might
    take over its shard, or with live requests in flight; given_up: batches that were cancelled because the shard
    already had another one.
    """

    scene: str
    kind: Kind
    number: int
    problems: tuple[str, ...]
    needed: int
    billed: int
    in_window: bool
    given_up: int

    @property
    def name(self) -> str:
        """How to play it again."""
        return f"{self.scene}, {self.kind} {self.number}"


class Explorer:
    """Plays one scene on one ground. trace: which worker took which step in the last schedule."""

    def __init__(self, ground: Ground, scene: Scene) -> None:
        self.trace: list[tuple[int, str]] = []
        self._ground = ground
        self._scene = scene
        ground.begin(scene.trouble)
        crew = ground.play([lambda: scene.prepare(ground)], alone(), seed=0)
        if crew.workers[0].error is not None:
            raise crew.workers[0].error
        self._again = ground.snapshot()
        self._verdicts = Verdicts(ground, scene)

    def hold_ups(self, *, stride: int = 1) -> Iterator[Played]:
        """Each worker in turn is stopped before each of its steps, while the others live their whole lives.

        stride: only before every so many-th step.
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

    def _play(self, kind: Kind, number: int, schedule: Schedule) -> Played:
        self._again()
        ground, scene = self._ground, self._scene
        works = [lambda work=work, index=index: work(ground, index) for index, work in enumerate(scene.works)]
        crew = ground.play(works, schedule, seed=number)
        self.trace = crew.trace
        result = self._verdicts.of_end(is_done=all(worker.error is None for worker in crew.workers))
        problems = [*_unexpected(crew), *result.problems]
        # Live requests that are in flight while another worker takes over are paid for again, and reported.
        in_window = _is_in_window(crew) or result.needed < result.billed <= result.needed + result.reported
        if result.billed != result.needed and not in_window:
            problems.append(f"{result.needed} requests were needed, and {result.billed} billed")
        return Played(
            scene=str(scene),
            kind=kind,
            number=number,
            problems=tuple(problems),
            needed=result.needed,
            billed=result.billed,
            in_window=in_window,
            given_up=result.given_up,
        )


def _is_in_window(crew: Crew) -> bool:
    """Whether a create was under way, since its claim was checked, for longer than others wait for it."""
    # The claim was taken some time before, and a create with a claim that is too old is not sent.
    least = SETTLE_SECONDS - _CLAIM_SECONDS
    return any(what == "POST /batches" and seconds > least for _, what, seconds in crew.holds)


def _unexpected(crew: Crew) -> list[str]:
    """Errors that a worker must not end with."""
    return [
        f"worker {worker.index} ended with {type(worker.error).__name__}: {worker.error}"
        for worker in crew.workers
        if worker.error is not None and not isinstance(worker.error, GreenNodeError) and not is_locked(worker.error)
    ]
