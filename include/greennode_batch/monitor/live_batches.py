"""Live batches: what the server reports of batches under way, read in the background, and seldom.

A page does not wait for the server: it shows the server's last report, or nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress

import msgspec

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.wire import Batch
from greennode_batch.errors import GreenNodeError, NotFoundError, RejectedError

log = logging.getLogger(__name__)

POLL_SECONDS = 10.0
"""How long a report is shown before it is read again: no process asks more often."""
_LIST_SECONDS = 8.0
# In an account with many more batches, those beyond this limit are polled by id.
_LISTED = 3_000
_LOOKED_UP = 10
_KEPT = 10_000
# An older problem is not shown: it may no longer hold, and the page asks the server again first.
_PROBLEM_SECONDS = 60.0


class LiveBatch(msgspec.Struct, frozen=True):
    """A batch as the server reports it. For display only: its counts need not add up, and nothing is decided by them.

    status: the server's own word; name: the BatchStatus that it stands for.
    """

    status: str
    name: str
    is_over: bool
    done: int
    failed: int
    seen_at: float


class LiveBatches:
    """The batches of one connection. Used by many threads; the first that needs news reads them in the background.

    open_client: a client of the connection. begin: runs a function in the background.
    """

    def __init__(
        self,
        open_client: Callable[[], AbstractContextManager[GreenNodeClient]],
        *,
        begin: Callable[[Callable[[], None]], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._open_client = open_client
        self._begin = begin or _in_a_thread
        self._clock = clock
        self._lock = threading.Lock()
        self._is_asking = False
        self._polled_at = 0.0
        self._wanted: set[str] = set()
        self._seen: dict[str, LiveBatch] = {}
        self._problem: str | None = None
        self._problem_at = 0.0

    def of(self, batch_ids: Collection[str]) -> Mapping[str, LiveBatch]:
        """What is known of these batches; of others nothing is known yet, and may be after some seconds."""
        with self._lock:
            found = {batch_id: self._seen[batch_id] for batch_id in batch_ids if batch_id in self._seen}
            self._wanted.update(batch_ids)
            begins = bool(self._wanted) and not self._is_asking and self._clock() - self._polled_at >= POLL_SECONDS
            self._is_asking = self._is_asking or begins
        if begins:
            self._begin(self._ask)
        return found

    @property
    def problem(self) -> str | None:
        """Why the server could not be asked; what was known before stays known."""
        with self._lock:
            return self._problem if self._clock() - self._problem_at <= _PROBLEM_SECONDS else None

    def ask_soon(self) -> None:
        """Ask again at the next request of the page, because a batch has been changed."""
        with self._lock:
            self._polled_at = 0.0

    def _ask(self) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, set()
        found: dict[str, LiveBatch] = {}
        problem = None
        try:
            with self._open_client() as client:
                self._list(client, wanted, found)
                self._look_up(client, wanted - found.keys(), found)
        except GreenNodeError as error:
            problem = str(error)
        except Exception as error:  # a missing connection, a secrets backend that is down
            log.exception("The batches could not be read from the server")
            problem = f"the connection could not be used ({type(error).__name__})"
        finally:
            with self._lock:
                self._seen = dict([*self._seen.items(), *found.items()][-_KEPT:])
                self._polled_at = self._clock()
                self._is_asking = False
                self._problem, self._problem_at = problem, self._clock()

    def _list(self, client: GreenNodeClient, wanted: set[str], found: dict[str, LiveBatch]) -> None:
        if not client.profile.can_list_batches:
            return
        until = self._clock() + _LIST_SECONDS
        with suppress(RejectedError):  # batches that the list does not show are polled one by one
            self._walk(client, wanted, found, until)

    def _walk(self, client: GreenNodeClient, wanted: set[str], found: dict[str, LiveBatch], until: float) -> None:
        for number, batch in enumerate(client.list_batches()):
            if batch.id in wanted:
                found[batch.id] = self._live(batch)
            if len(found) == len(wanted) or number >= _LISTED or self._clock() > until:
                return

    def _look_up(self, client: GreenNodeClient, missing: Collection[str], found: dict[str, LiveBatch]) -> None:
        # The batch with the oldest report comes first, so that each gets its turn.
        known = self._seen
        for batch_id in sorted(missing, key=lambda one: known[one].seen_at if one in known else 0.0)[:_LOOKED_UP]:
            try:
                found[batch_id] = self._live(client.get_batch(batch_id))
            except NotFoundError:
                continue

    def _live(self, batch: Batch) -> LiveBatch:
        return LiveBatch(
            status=batch.raw_status,
            name=batch.status.name,
            is_over=batch.status.is_terminal,
            done=batch.counts.completed,
            failed=batch.counts.failed,
            seen_at=self._clock(),
        )


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="greennode-live-batches", daemon=True).start()
