"""Which batches to poll by pages of the list, and which one by one: the plan that costs the fewest calls. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from greennode_batch.api.polling.watch import UNLISTED, Watch


@dataclass(frozen=True)
class PollPlan:
    """walk: begin to read the list. single: poll these one by one."""

    walk: bool = False
    single: list[Watch] = field(default_factory=list)


def pages_worth_reading(pages: Iterable[float], *, front: int = 0) -> int:
    """The page up to which to read the list, for batches on these pages, if `front` pages have been read already.

    Reading to page p costs p - front calls, and each batch beyond it costs one more call. The least sum wins; of equal
    sums the fewest pages, because single calls do not wait for each other.
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
    """What to begin for batches that are due, while walks have read the list up to the pages in `fronts`.

    A batch ahead of a walk waits for it, if the walk is worth continuing that far. may_walk: whether one more walk may
    begin; if not, batches behind all walks wait until one of them ends.
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
