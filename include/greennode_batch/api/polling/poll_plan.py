"""Which batches to look at by pages of the list, and which by themselves: what costs the fewest calls. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from greennode_batch.api.polling.watch import UNLISTED, Watch


@dataclass(frozen=True)
class PollPlan:
    """walk: begin to read the list. single: ask for these by themselves."""

    walk: bool = False
    single: list[Watch] = field(default_factory=list)


def pages_worth_reading(pages: Iterable[float], *, front: int = 0) -> int:
    """Up to which page to read the list on, of which `front` pages are read, for batches on these pages.

    Reading to page p costs p - front calls, and each batch beyond costs one more call; the least sum
    wins, and of equals the fewest pages, for single calls do not wait for each other.
    """
    by_page = Counter([page for page in pages if page > front])
    beyond = sum(by_page.values())
    best, least = front, beyond
    for page in sorted(by_page):
        if page == UNLISTED:
            break
        beyond -= by_page[page]
        calls = int(page) - front + beyond
        if calls < least:
            best, least = int(page), calls
    return best


def plan_polls(due: Sequence[Watch], *, fronts: Sequence[int], may_walk: bool) -> PollPlan:
    """What to begin for batches that are due, while the list is being read and is at these pages already.

    A batch that lies ahead of somebody who reads the list waits for them, if it pays that they go so far. may_walk:
    whether one more may begin; where none may, what lies behind all of them waits until one is through.
    """
    rear = min(fronts, default=None)
    ahead = [watch for watch in due if rear is not None and watch.page > rear]
    behind = [watch for watch in due if rear is None or watch.page <= rear]
    single = [] if rear is None else _beyond(ahead, pages_worth_reading([w.page for w in ahead], front=rear))
    if not may_walk:
        return PollPlan(single=single)
    depth = pages_worth_reading([watch.page for watch in behind])
    return PollPlan(walk=depth > 0, single=single + _beyond(behind, depth))


def _beyond(watches: Iterable[Watch], depth: int) -> list[Watch]:
    return [watch for watch in watches if watch.page > depth]
