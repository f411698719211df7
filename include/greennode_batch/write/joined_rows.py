"""CountedRows: counts joined rows on their way into the targets, and writes joined.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from greennode_batch.staging.folders import ShardFolder, write_json
from greennode_batch.state.joined_shard import JoinedShard
from greennode_batch.state.rows_fingerprint import NO_ROWS
from greennode_batch.tables.fingerprint import fingerprint


class CountedRows:
    """Joined rows that are counted and fingerprinted as they are iterated. key: the target's primary key."""

    def __init__(self, rows: Iterable[pa.Table], key: Sequence[str]) -> None:
        self.models: dict[str, Counter[str]] = {}
        self.fingerprint = NO_ROWS
        self._rows = rows
        self._key = key

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the rows. Each iteration counts from zero."""
        self.models = {}
        self.fingerprint = NO_ROWS
        for some in self._rows:
            counted = some.select(["model", "status"]).group_by(["model", "status"], use_threads=False)
            for model, status, count in zip(*counted.aggregate([([], "count_all")]).to_pydict().values(), strict=True):
                self.models.setdefault(model, Counter())[status] += count
            self.fingerprint = self.fingerprint.joined_with(fingerprint([some], self._key))
            yield some

    @property
    def statuses(self) -> Counter[str]:
        """All rows of the last iteration, by status."""
        return sum(self.models.values(), Counter())


def note_joined(
    shard: ShardFolder, joined: CountedRows, *, files: Mapping[str, tuple[str, ...]] | None = None
) -> JoinedShard:
    """Write joined.json: what a shard wrote into the targets."""
    note = JoinedShard(
        rows=joined.fingerprint.rows,
        statuses=dict(joined.statuses),
        fingerprint=joined.fingerprint.hex,
        files=dict(files or {}),
        models={model: dict(statuses) for model, statuses in joined.models.items()},
    )
    write_json(shard.joined, note)
    return note
