"""Joined shard: joined.json, what of a shard went into the targets."""

from __future__ import annotations

import msgspec

from greennode_batch.staging.folders import RunFolder, ShardFolder, read_json
from greennode_batch.state.document import Document
from greennode_batch.state.plan import Plan
from greennode_batch.state.rows_fingerprint import RowsFingerprint


class JoinedShard(Document, frozen=True):
    """joined.json: what of a shard went into the targets.

    `fingerprint`: of key, custom_id and status of the rows. `files`: what it has in each dataset. `statuses`: of all
    rows; `models`: of those of each model. A row that is not sent may lie beside another's requests.
    """

    rows: int
    statuses: dict[str, int]
    fingerprint: str
    files: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    models: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)

    @property
    def rows_fingerprint(self) -> RowsFingerprint:
        """The fingerprint as one can reckon with."""
        return RowsFingerprint(self.rows, int(self.fingerprint, 16))


def joined_shards(run: RunFolder, plan: Plan) -> dict[str, JoinedShard]:
    """What each shard of a run put into the targets, but for those that are not joined yet."""
    notes = ((shard.shard_id, read_joined(run.shard(shard.shard_id))) for shard in plan.shards)
    return {shard_id: note for shard_id, note in notes if note is not None}


def read_joined(shard: ShardFolder) -> JoinedShard | None:
    """What the shard put into the targets, or None if it was not joined yet."""
    return read_json(shard.joined, JoinedShard)
