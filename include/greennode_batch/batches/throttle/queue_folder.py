"""The queue's folder: one for each connection, small files in staging beside the folders of the DAGs.

    <root>/.line/<connection>/waits-<came at>-<tokens>-<shard>.json   a ticket, written again at each try
                             /in-<n>.json                             the n-th admission
                             /out-<n>.json                            that admission is over

One list shows who waits, and for how much. Admissions are numbered in order, and each is written exclusively: so the
writer of the next one has seen all those before it. A number is never used again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from upath import UPath

from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import ShardFolder, fresh_times, read_json, safe_name, write_json
from greennode_batch.state.submit_queue import Admission, AdmissionOver, Tries

_TICKET_NAME = re.compile(r"waits-(\d+)-(\d+)-([0-9a-f]+)\.json")
_IN_NAME = re.compile(r"in-(\d+)\.json")
_OUT_NAME = re.compile(r"out-(\d+)\.json")
# A number must not be forgotten while a worker may still be about to take it.
_ADMISSION_KEPT_SECONDS = 3600.0
# After this time without a try to send the shard, it counts as given up.
_TICKET_KEPT_SECONDS = 86_400.0


def queue_folder(root: UPath, connection: str) -> UPath:
    """The folder of a connection's queue, below the root of staging."""
    return root / ".line" / safe_name(connection)


def name_in_queue(shard: ShardFolder) -> str:
    """The name of a shard there, from its place in staging, because two runs may send the same bytes."""
    return hashlib.blake2b(str(shard.path).encode(), digest_size=8).hexdigest()


class Ticket(NamedTuple):
    """A waiting shard. came_ms: since when, in epoch milliseconds. tried_at: epoch seconds, by the store's clock."""

    came_ms: int
    shard: str
    tokens: int
    tried_at: float = 0.0

    @property
    def file(self) -> str:
        """The ticket's file."""
        return f"waits-{self.came_ms:013}-{self.tokens}-{self.shard}.json"

    @property
    def position(self) -> tuple[int, str]:
        """Its position in the queue; the lowest is the first."""
        return self.came_ms, self.shard


class QueueListing(NamedTuple):
    """The queue as one list shows it. tickets: by shard; admitted: the numbers of admissions that are not over."""

    tickets: dict[str, Ticket]
    admitted: list[int]
    last: int
    times: dict[str, float]


class QueueFolder:
    """The files of one queue. Many workers may call all of it at once."""

    def __init__(self, path: UPath) -> None:
        self.path = path

    def listing(self) -> QueueListing:
        """List the folder, once."""
        times = fresh_times(self.path)
        tickets: dict[str, Ticket] = {}
        for name in sorted(times):
            if match := _TICKET_NAME.fullmatch(name):
                # If two workers wrote one for the same shard, the first counts.
                tickets.setdefault(match[3], Ticket(int(match[1]), match[3], int(match[2]), times[name]))
        came, gone = _numbers(_IN_NAME, times), _numbers(_OUT_NAME, times)
        return QueueListing(tickets, sorted(came - gone), max(came | gone, default=0), times)

    def admissions(self, seen: QueueListing) -> Iterator[Admission]:
        """Read those that are not over."""
        for number in seen.admitted:
            admission = read_json(self._in(number), Admission)
            if admission is not None:  # else it was over, and has been removed
                yield admission

    def admit(self, admission: Admission) -> bool:
        """Write an admission; False if another one has its number."""
        return create_exclusive(self._in(admission.number), admission)

    def end(self, number: int) -> None:
        """Record that an admission is over."""
        write_json(self._out(number), AdmissionOver())

    def tries(self, ticket: Ticket) -> int:
        """How often the shard of a ticket was tried."""
        read = read_json(self.path / ticket.file, Tries)
        return read.tries if read is not None else 0

    def write_ticket(self, ticket: Ticket, tries: Tries) -> None:
        """Write a shard's ticket, so that it waits or goes on waiting."""
        write_json(self.path / ticket.file, tries)

    def remove_tickets(self, seen: QueueListing, shard: str) -> None:
        """Remove a shard's ticket."""
        for name in seen.times:
            if (match := _TICKET_NAME.fullmatch(name)) and match[3] == shard:
                (self.path / name).unlink(missing_ok=True)

    def tidy(self, seen: QueueListing, *, now: float) -> None:
        """Remove admissions that have been over for long. The last number stays."""
        for name, written_at in seen.times.items():
            over = _OUT_NAME.fullmatch(name)
            if over and int(over[1]) < seen.last and now - written_at > _ADMISSION_KEPT_SECONDS:
                # In this order: an admission without that file is not over.
                self._in(int(over[1])).unlink(missing_ok=True)
                self._out(int(over[1])).unlink(missing_ok=True)
            elif _TICKET_NAME.fullmatch(name) and now - written_at > _TICKET_KEPT_SECONDS:
                (self.path / name).unlink(missing_ok=True)

    def _in(self, number: int) -> UPath:
        return self.path / f"in-{number}.json"

    def _out(self, number: int) -> UPath:
        return self.path / f"out-{number}.json"


def _numbers(pattern: re.Pattern[str], names: dict[str, float]) -> set[int]:
    return {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
