"""Tally: scenes are played on all kinds of stores; how many schedules there were, and how they ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from greennode_faults.interleavings.explorer import Explorer, Played
from greennode_faults.interleavings.ground import STORES, StoreKind, ground
from greennode_faults.interleavings.scenes import scenes

_WORKERS = 2
_COLUMNS = "{:<9} {:<52} {:<22} {:>8} {:>7} {:>7}  {}"


@dataclass(frozen=True)
class Tally:
    """The schedules of one scene on one kind of store."""

    scene: str
    store: StoreKind
    hold_ups: int
    random: int
    in_window: int
    paid_in_window: int
    wrong: tuple[Played, ...]

    @property
    def schedules(self) -> int:
        """How many were played."""
        return self.hold_ups + self.random

    def __str__(self) -> str:
        kind, _, name = self.scene.partition(": ")
        result = "ok"
        if self.in_window:
            result += f", {self.in_window} in the window, each cancelled; billed all the same: {self.paid_in_window}"
        if self.wrong:
            first = self.wrong[0]
            result = f"{len(self.wrong)} wrong, as {first.kind} {first.number}: {'; '.join(first.problems)}"
        return _COLUMNS.format(kind, name, self.store, self.hold_ups, self.random, len(self.wrong), result)


def heading() -> str:
    """The first line."""
    return _COLUMNS.format("workers", "on the same", "store", "hold-ups", "random", "wrong", "verdict")


def play_all(*, seed: int, random: int, only: str = "", stride: int = 1) -> Iterator[Tally]:
    """Play every single hold-up, or each so many-th, and about so many random schedules in all."""
    chosen = [(store, index) for index, scene in enumerate(scenes()) for store in STORES if only in f"{scene}, {store}"]
    each = -(-random // len(chosen)) if chosen else 0
    with ProcessPoolExecutor(_WORKERS) as pool:
        work = [pool.submit(play, store, index, range(seed, seed + each), stride) for store, index in chosen]
        for one in work:
            yield one.result()


def play(store: StoreKind, index: int, seeds: Sequence[int], stride: int = 1) -> Tally:
    """Play one of the scenes on one kind of store."""
    scene = scenes()[index]
    with ground(store) as where:
        explorer = Explorer(where, scene)
        hold_ups = list(explorer.hold_ups(stride=stride))
        random = list(explorer.at_random(seeds))
    played = [*hold_ups, *random]
    return Tally(
        scene=str(scene),
        store=store,
        hold_ups=len(hold_ups),
        random=len(random),
        in_window=sum(one.in_window for one in played),
        paid_in_window=sum(one.paid_in_window for one in played),
        wrong=tuple(one for one in played if one.problems),
    )
