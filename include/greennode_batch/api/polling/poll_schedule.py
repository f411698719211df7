"""Poll schedule: all batches of one API that tasks wait for, and which polls are due. The clock is an argument."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from heapq import nsmallest

from greennode_batch.api.polling.poll_plan import PollPlan, pages_worth_reading, plan_polls
from greennode_batch.api.polling.polling import Done
from greennode_batch.api.polling.watch import UNLISTED, Watch
from greennode_batch.api.wire import Batch
from greennode_batch.errors import GreenNodeError

SINGLE_AT_ONCE = 8
WALKS_AT_ONCE = 4
NO_LIST_SECONDS = 1800.0
"""How long the list is not read after the server refuses it or it shows none of our batches."""


@dataclass(eq=False)
class Walk:
    """One reading of the list, up to page `front` so far. found: whether a batch of ours was on any of its pages."""

    began: float
    front: int = 0
    found: bool = False


@dataclass(frozen=True)
class Polls:
    """What to begin: a walk through the list, and single polls of these batches."""

    walk: Walk | None
    single: list[str]


class PollSchedule:
    """Says which polls are due, and takes their outcomes. Times are epoch seconds.

    Methods that take an outcome return the watches that have news.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, set[Watch]] = {}
        # Those that have not ended and have no single poll under way.
        self._open: set[Watch] = set()
        self._requested: set[str] = set()
        self._walks: set[Walk] = set()
        self._no_list_until = 0.0

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, watch: Watch) -> None:
        """Start to wait for a batch."""
        self._by_id.setdefault(watch.batch_id, set()).add(watch)
        self._open.add(watch)

    def remove(self, watch: Watch) -> None:
        """Stop waiting for it."""
        self._open.discard(watch)
        of_batch = self._by_id[watch.batch_id]
        of_batch.discard(watch)
        if not of_batch:
            del self._by_id[watch.batch_id]
            self._requested.discard(watch.batch_id)

    def begin(self, now: float) -> Polls:
        """The polls to begin. They count as under way until their outcome is reported here."""
        due = self._nearly_due(now)
        if all(watch.due > now for watch in due):
            return Polls(None, [])
        plan = PollPlan(single=due)
        if now >= self._no_list_until:
            may_walk = len(self._walks) < WALKS_AT_ONCE and all(walk.front for walk in self._walks)
            plan = plan_polls(due, fronts=[walk.front for walk in self._walks], may_walk=may_walk)
        walk = Walk(began=now) if plan.walk else None
        if walk is not None:
            self._walks.add(walk)
        # A page of the list covers many batches at a time: single polls take turns with it.
        capacity = (1 if self._walks else SINGLE_AT_ONCE) - len(self._requested)
        first = nsmallest(max(capacity, 0), plan.single, key=lambda watch: watch.due)
        single = [batch_id for batch_id in {watch.batch_id: None for watch in first} if batch_id not in self._requested]
        for batch_id in single:
            self._requested.add(batch_id)
            self._open -= self._by_id[batch_id]
        return Polls(walk, single)

    def seconds_until_due(self, now: float) -> float | None:
        """Seconds until a poll may have to begin; None if none can begin before one under way ends."""
        if not self._walks and not self._requested and any(watch.due <= now for watch in self._open):
            return 0.0
        # A poll that is due already waits for one that is under way.
        later = min([watch.due for watch in self._open if watch.due > now], default=None)
        return None if later is None else later - now

    def seen(self, batch_id: str, batch: Batch, *, now: float) -> Collection[Watch]:
        """Take the outcome of a single poll."""
        for watch in self._by_id.get(batch_id, ()):
            watch.seen(batch, now=now)
        return self._answered(batch_id)

    def failed(self, batch_id: str, error: GreenNodeError, *, now: float) -> Collection[Watch]:
        """Take the error of a single poll."""
        for watch in self._by_id.get(batch_id, ()):
            watch.failed(error, now=now)
        return self._answered(batch_id)

    def all_failed(self, error: GreenNodeError, *, now: float) -> Collection[Watch]:
        """Give up all polls that are under way, and start again."""
        self._walks.clear()
        return [watch for batch_id in self._by_id for watch in self.failed(batch_id, error, now=now)]

    def is_worth_reading(self, walk: Walk, now: float) -> bool:
        """Whether the next page of the list is worth a call."""
        pages = [watch.page for watch in self._nearly_due(now)]
        return pages_worth_reading(pages, front=walk.front) > walk.front

    def listed(self, walk: Walk, batches: Iterable[Batch], *, now: float) -> Collection[Watch]:
        """Take the next page of the list."""
        walk.front += 1
        self._no_list_until = 0.0
        told = []
        for batch in batches:
            for watch in self._by_id.get(batch.id, ()):
                walk.found = True
                if watch.listed(batch, walk.front, now=now):
                    told.append(watch)
        self._open.difference_update(watch for watch in told if isinstance(watch.step, Done))
        for watch in self._unseen(walk, by_page=walk.front):
            watch.missed(walk.front)
        return told

    def end_of_list(self, walk: Walk, *, now: float) -> None:
        """Take the end of the list: batches that it did not show are polled one by one; if it showed none, all are."""
        unseen = self._unseen(walk)
        for watch in unseen:
            watch.unlisted()
        if unseen and not walk.found:
            self.leave_list(NO_LIST_SECONDS, now=now)

    def leave_list(self, seconds: float, *, now: float) -> None:
        """Poll every batch singly for so many seconds, or until a page of the list is read after all."""
        self._no_list_until = now + seconds

    def end_walk(self, walk: Walk) -> None:
        """End a walk through the list."""
        self._walks.discard(walk)

    def _answered(self, batch_id: str) -> Collection[Watch]:
        self._requested.discard(batch_id)
        watches = self._by_id.get(batch_id, set())
        self._open |= watches
        self._open.difference_update([watch for watch in watches if isinstance(watch.step, Done)])
        return watches

    def _nearly_due(self, now: float) -> list[Watch]:
        return [watch for watch in self._open if watch.early <= now]

    def _unseen(self, walk: Walk, *, by_page: float = UNLISTED) -> list[Watch]:
        """The watches whose batches should have appeared by now, and have not."""
        began = walk.began
        return [w for w in self._open if w.page <= by_page and w.listed_at < began and w.began < began]
