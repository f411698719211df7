"""Live answers: live/, the answers of a shard whose requests are sent now, one by one, without a batch.

    creating.<c>.json         a claim like that of a batch, with a LiveHold: its worker answers the shard
    live/<c>.<n>.jsonl        the n-th segment of that worker: whole lines in the result format, and lost replies
    live/<c>.now.json         how far that worker is, written again every few seconds
    live/<c>.ended.json       that worker has stopped, and all its answers are in its segments
    receipt.<n>.json          state `answered`, with LiveAnswers: all is done, and output.jsonl is made of the segments

Two workers never write one file, for a segment's name has its worker's claim.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from greennode_batch.staging.folders import (
    ShardFolder,
    fresh_names,
    land,
    read_json,
    work_folder,
    write_json,
    write_whole,
)
from greennode_batch.state.document import Document

LIVE_BATCH_ID = "live"
"""Stands in place of a batch's id in rows that were answered live."""

_PROGRESS_NAME = re.compile(r"(\d+)\.now\.json")
_SEGMENT_NAME = re.compile(r"(\d+)\.(\d+)\.jsonl")


class LiveHold(msgspec.Struct, frozen=True):
    """In a claim: its worker answers the shard's requests live."""

    at_stake: int
    """How many requests it has in flight at most: those without a reply, and answers that are not saved yet."""


class LiveEnded(Document, frozen=True):
    """live/<c>.ended.json: the worker of claim c has stopped, and all its answers are saved."""

    in_flight: int
    """How many requests had no reply then. They may have been billed."""


class LiveProgress(Document, frozen=True):
    """live/<c>.now.json: how far the worker of claim c is."""

    settled: int
    """Requests of the shard that are settled, by an answer or by an error, whichever worker has done it."""
    per_second: float
    """Requests that this worker has settled a second, on average."""


class LiveWorker(Document, frozen=True):
    """.live/<connection>/<worker>.json: a worker that answers live through a connection."""


class LiveAnswers(msgspec.Struct, frozen=True):
    """In a receipt: how the shard was answered live."""

    requests: int
    answered: int
    """Requests that are settled, by an answer or by an error; the others were not answered before the deadline."""
    began_at: float
    """Epoch seconds."""
    ended_at: float
    lost: int = 0
    """Requests that were sent and whose reply was lost. Each may have been billed, and was sent again."""
    in_flight: int = 0
    """Requests that were in flight when a worker stopped or was killed, at most."""

    @property
    def may_be_paid_twice(self) -> int:
        """How many requests may have been paid for more than once, at most."""
        return self.lost + self.in_flight


class _Line(msgspec.Struct):
    custom_id: str | None = None
    lost: str | None = None


_decode = msgspec.json.Decoder(_Line).decode


class LiveFolder:
    """The segments of a shard that is answered live."""

    def __init__(self, shard: ShardFolder) -> None:
        self._shard = shard
        self._path = shard.path / "live"

    def write(self, claim: int, number: int, lines: Iterable[bytes]) -> None:
        """Write a worker's next segment, whole."""
        write_whole(self._path / f"{claim}.{number}.jsonl", b"".join(line + b"\n" for line in lines))

    def note_progress(self, claim: int, progress: LiveProgress) -> None:
        """Note how far the worker of a claim is."""
        write_json(self._path / f"{claim}.now.json", progress)

    def end(self, claim: int, in_flight: int) -> None:
        """Note that the worker of a claim has stopped."""
        write_json(self._path / f"{claim}.ended.json", LiveEnded(in_flight))

    def ended(self, claim: int) -> LiveEnded | None:
        """How the worker of a claim has stopped. None if it still works, or was killed."""
        return read_json(self._path / f"{claim}.ended.json", LiveEnded)

    def settled(self) -> tuple[set[str], int]:
        """The ids of the requests that are settled, and how many replies were lost. Holds the ids and one segment."""
        ids: set[str] = set()
        lost = 0
        for line in itertools.chain.from_iterable(self._segments()):
            said = _decode(line)
            lost += said.lost is not None
            if said.custom_id is not None:
                ids.add(said.custom_id)
        return ids, lost

    def put_together(self) -> None:
        """Make output.jsonl of all segments. Once the shard's receipt is written, the result is always the same."""
        with work_folder(self._shard.path) as work:
            made = Path(work) / "output.jsonl"
            with made.open("wb") as file:
                for lines in self._segments():
                    file.writelines(line + b"\n" for line in lines if _decode(line).custom_id is not None)
            land(made, self._shard.output)

    def _segments(self) -> Iterator[list[bytes]]:
        matches = filter(None, map(_SEGMENT_NAME.fullmatch, fresh_names(self._path)))
        found = [(int(match[1]), int(match[2])) for match in matches]
        for claim, number in sorted(found):
            path = self._path / f"{claim}.{number}.jsonl"
            yield path.read_bytes().split(b"\n")[:-1]


def progress_name(names: Iterable[str]) -> str | None:
    """The file that says how far the latest worker is, among the names of a shard's live/."""
    found = {int(match[1]): match[0] for match in map(_PROGRESS_NAME.fullmatch, names) if match}
    return found[max(found)] if found else None


def lost_line(custom_id: str) -> bytes:
    """The line of a segment that says that a request was sent and its reply was lost."""
    return msgspec.json.encode({"lost": custom_id})
