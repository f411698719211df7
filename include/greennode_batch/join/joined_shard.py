"""joined.json: what one shard put into the targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.reconcile.fingerprint import NO_ROWS, Fingerprint, fingerprint
from greennode_batch.staging import ShardFolder, read_json, write_json


class JoinedShard(msgspec.Struct, frozen=True):
    """joined.json. `fingerprint`: of key, custom_id and status of the rows. `files`: what it has in each dataset."""

    rows: int
    statuses: dict[str, int]
    fingerprint: str
    files: dict[str, tuple[str, ...]] = {}

    @property
    def rows_fingerprint(self) -> Fingerprint:
        """The fingerprint as one can reckon with."""
        return Fingerprint(self.rows, int(self.fingerprint, 16))


class CountedRows:
    """Joined rows on their way into a target: what passed is known when they are through. key: the target's."""

    def __init__(self, rows: Iterable[pa.Table], key: Sequence[str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.fingerprint = NO_ROWS
        self._rows = rows
        self._key = key

    def __iter__(self) -> Iterator[pa.Table]:
        """The rows, counted anew each time that they are gone through."""
        self.statuses = Counter()
        self.fingerprint = NO_ROWS
        for some in self._rows:
            for entry in pc.value_counts(some["status"]).to_pylist():
                self.statuses[entry["values"]] += entry["counts"]
            self.fingerprint = self.fingerprint.joined_with(fingerprint([some], self._key))
            yield some


def note_joined(
    shard: ShardFolder, joined: CountedRows, *, files: Mapping[str, tuple[str, ...]] | None = None
) -> JoinedShard:
    """Write down what a shard put into the targets."""
    note = JoinedShard(
        rows=joined.fingerprint.rows,
        statuses=dict(joined.statuses),
        fingerprint=joined.fingerprint.hex,
        files=dict(files or {}),
    )
    write_json(shard.joined, note)
    return note


def read_joined(shard: ShardFolder) -> JoinedShard | None:
    """What the shard put into the targets, or None if it was not joined yet."""
    return read_json(shard.joined, JoinedShard)
