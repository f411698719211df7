"""Tally: scenes are played on all kinds of stores; how many schedules there were, and how they ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from greennode_faults.interleavings.explorer import Explorer, Kind, Played
from greennode_faults.interleavings.ground import STORES, StoreKind, ground
from greennode_faults.interleavings.scenes import LIVE, scenes

_WORKERS = 2
_COLUMNS = "{:<8} {:<6} {:<54} {:<21} {:>9} {:>7} {:>7} {:>6} {:>5}  {}"


@dataclass(frozen=True)
class Tally:
    """The schedules of one kind of one scene on one kind of store.

    needed, billed: requests, in all schedules but those in the window. window, wrong: those that were.
    """

    kind: Kind
    scene: str
    store: StoreKind
    schedules: int
    needed: int
    billed: int
    window: tuple[Played, ...]
    wrong: tuple[Played, ...]

    def __str__(self) -> str:
        works, _, name = self.scene.partition(": ")
        result = "ok"
        if self.wrong:
            first = self.wrong[0]
            result = f"as {first.number}: {'; '.join(first.problems)}"
        numbers = (f"{number:,}" for number in (self.schedules, self.needed, self.billed))
        own = (self.kind, works, name, self.store, *numbers)
        return _COLUMNS.format(*own, len(self.window), len(self.wrong), result)


def heading() -> str:
    """The first line."""
    names = "kind", "of", "workers", "store", "schedules", "needed", "billed", "window", "wrong", "verdict"
    return _COLUMNS.format(*names)


def in_window(tallies: Sequence[Tally]) -> str:
    """The schedules in the window, a line a scene: what became of the batches or requests in them."""
    lines = ["", "Stopped between the check of a claim and the first byte of its request, until others took over:"]
    lines += [_window_line(tally) for tally in tallies if tally.window] or ["  none"]
    return "\n".join(lines)


def _window_line(tally: Tally) -> str:
    where = f"  {tally.scene}, {tally.store}, {tally.kind}: {len(tally.window)}"
    if tally.scene.startswith(LIVE):
        again = sum(one.billed - one.needed for one in tally.window)
        return f"{where}; {again} live requests in flight were billed again, no more than the report says"
    second = [one for one in tally.window if one.given_up]
    billed = sum(one.billed > one.needed for one in second)
    stray = sum(bool(one.problems) for one in tally.window)
    return (
        f"{where}; in {len(second)} a second batch, cancelled on waking (in {billed} it had ended before); "
        f"not cancelled: {stray}"
    )


def play_all(*, seed: int, total: int, only: str = "") -> Iterator[Tally]:
    """Play every single hold-up, and random schedules up to the wanted total; at least one of each scene."""
    chosen = [(store, index) for index, scene in enumerate(scenes()) for store in STORES if only in f"{scene}, {store}"]
    with ProcessPoolExecutor(_WORKERS) as pool:
        left = total
        for one in [pool.submit(play_hold_ups, store, index) for store, index in chosen]:
            tally = one.result()
            left -= tally.schedules
            yield tally
        shares = [max(1, (left + number) // len(chosen)) for number in range(len(chosen))]
        work = [
            pool.submit(play_random, store, index, range(seed, seed + share))
            for (store, index), share in zip(chosen, shares, strict=True)
        ]
        for one in work:
            yield one.result()


def play_hold_ups(store: StoreKind, index: int, stride: int = 1) -> Tally:
    """Play every single hold-up of one of the scenes on one kind of store, or every so many-th."""
    with ground(store) as where:
        return _tally("hold-up", store, index, list(Explorer(where, scenes()[index]).hold_ups(stride=stride)))


def play_random(store: StoreKind, index: int, seeds: Sequence[int]) -> Tally:
    """Play one of the scenes on one kind of store, at random from each seed."""
    with ground(store) as where:
        return _tally("random", store, index, list(Explorer(where, scenes()[index]).at_random(seeds)))


def _tally(kind: Kind, store: StoreKind, index: int, played: Sequence[Played]) -> Tally:
    outside = [one for one in played if not one.in_window]
    return Tally(
        kind=kind,
        scene=str(scenes()[index]),
        store=store,
        schedules=len(played),
        needed=sum(one.needed for one in outside),
        billed=sum(one.billed for one in outside),
        window=tuple(one for one in played if one.in_window),
        wrong=tuple(one for one in played if one.problems),
    )
