"""End results: what is wrong once everything that workers have left is finished, by rows and by money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from greennode_batch.staging.folders import ShardFolder, fresh_names
from greennode_batch.state.attempts import FIRST_ATTEMPT
from greennode_batch.state.receipts import Receipt, read_receipt
from greennode_faults.interleavings.end_state import end_state
from greennode_faults.interleavings.ground import Ground
from greennode_faults.interleavings.scene import MAX_ATTEMPTS, Scene
from greennode_faults.interleavings.schedules import HoldUp
from greennode_faults.interleavings.small_api import BATCH_SECONDS

_FINISHING_STARTS = 3


class Verdict(NamedTuple):
    """problems: in words. needed, billed: requests. given_up: how many batches were cancelled.

    reported: how many live requests may have been paid for twice, as the receipts say.

    Needed is each request once, and once more for each time that the server lost its answer after it was billed.
    """

    problems: tuple[str, ...]
    needed: int
    billed: int
    given_up: int
    reported: int


class Verdicts:
    """The results of one scene. Each end is judged once, however many schedules lead to it."""

    def __init__(self, ground: Ground, scene: Scene) -> None:
        self._ground = ground
        self._scene = scene
        self._of_ends: dict[tuple[str, bool], Verdict] = {}

    @property
    def ends(self) -> int:
        """How many differ."""
        return len(self._of_ends)

    def of_end(self, *, is_done: bool) -> Verdict:
        """The result of what is stored and at the server now; this may finish the run.

        is_done: whether all workers have ended without an error.
        """
        end = end_state(self._ground), is_done
        if end not in self._of_ends:
            self._of_ends[end] = self._judge(is_done=is_done)
        return self._of_ends[end]

    def _judge(self, *, is_done: bool) -> Verdict:
        problems = self._scene.wrong_at_once(self._ground) if is_done else []
        problems += self._finish()
        api = self._ground.api
        receipts = list(self._receipts())
        named = {batch_id for receipt in receipts for batch_id in (receipt.batch_id, *receipt.over_capacity)}
        strays = sorted(api.batches.keys() - named - api.given_up)
        if strays:
            problems.append(f"{', '.join(strays)}: a second batch that was not cancelled")
        needed = len(api.billed) + api.wasted.total()
        reported = sum(receipt.live.may_be_paid_twice for receipt in receipts if receipt.live is not None)
        return Verdict(tuple(problems), needed, api.billed.total(), len(api.given_up), reported)

    def _finish(self) -> list[str]:
        """Let one more start finish everything, once the batches have ended; returns what is wrong then."""
        ground, scene = self._ground, self._scene
        ground.clock.now += BATCH_SECONDS
        for _ in range(_FINISHING_STARTS):
            error = ground.play([lambda: scene.finish(ground)], alone(), seed=0).workers[0].error
            if error is None:
                ground.api.settle(whole=True)
                return scene.wrong(ground)
        ground.api.settle(whole=True)
        return [f"it cannot be finished: {type(error).__name__}: {error}"]

    def _receipts(self) -> Iterator[Receipt]:
        """The receipts of all shards."""
        for run in map(self._ground.run, self._scene.runs):
            for attempt in range(FIRST_ATTEMPT, MAX_ATTEMPTS + 1):
                folder = run.shard("any", attempt=attempt).path.parent
                yield from filter(None, (read_receipt(ShardFolder(folder / name)) for name in fresh_names(folder)))


def alone() -> HoldUp:
    """The schedule of one worker."""
    return HoldUp(0, -1)
