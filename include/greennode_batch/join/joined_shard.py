"""joined.json: what one shard put into the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.reconcile.fingerprint import Fingerprint, fingerprint
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


def note_joined(
    shard: ShardFolder, joined: pa.Table, *, key: Sequence[str], files: Mapping[str, tuple[str, ...]] | None = None
) -> JoinedShard:
    """Write down what a shard put into the targets. key: the targets'."""
    counted = pc.value_counts(joined["status"]).to_pylist()
    note = JoinedShard(
        rows=joined.num_rows,
        statuses={entry["values"]: entry["counts"] for entry in counted},
        fingerprint=fingerprint([joined], key).hex,
        files=dict(files or {}),
    )
    write_json(shard.joined, note)
    return note


def read_joined(shard: ShardFolder) -> JoinedShard | None:
    """What the shard put into the targets, or None if it was not joined yet."""
    return read_json(shard.joined, JoinedShard)
