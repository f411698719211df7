"""JoinedShard: joined.json, what a shard wrote into the targets."""

from __future__ import annotations

import msgspec

from greennode_batch.staging.folders import RunFolder, ShardFolder, read_json
from greennode_batch.state.document import Document
from greennode_batch.state.plan import Plan
from greennode_batch.state.rows_fingerprint import RowsFingerprint


class JoinedShard(Document, frozen=True):
    """joined.json: what a shard wrote into the targets."""

    rows: int
    statuses: dict[str, int]
    """The rows by status."""
    fingerprint: str
    """The fingerprint of the rows' key, custom_id and status, in hexadecimal."""
    files: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """The shard's files in each dataset."""
    models: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    """The rows by status for each model. Rows of several models occur because unsent rows may share a shard."""

    @property
    def rows_fingerprint(self) -> RowsFingerprint:
        """The fingerprint as a value that can be added and compared."""
        return RowsFingerprint(self.rows, int(self.fingerprint, 16))


def joined_shards(run: RunFolder, plan: Plan) -> dict[str, JoinedShard]:
    """What each joined shard of a run wrote into the targets, by shard id."""
    notes = ((shard.shard_id, read_joined(run.shard(shard.shard_id))) for shard in plan.shards)
    return {shard_id: note for shard_id, note in notes if note is not None}


def read_joined(shard: ShardFolder) -> JoinedShard | None:
    """What the shard wrote into the targets, or None if it is not joined yet."""
    return read_json(shard.joined, JoinedShard)
