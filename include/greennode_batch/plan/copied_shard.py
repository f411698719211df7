"""Copied shard: rows that need no request, because one target has their answers and others get copies.

Its folder has an empty requests.jsonl, so that it is not sent, an ordinary source.parquet, and copied.parquet in place
of results: what the target stores for each row of source.parquet, in the same order.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from greennode_batch.plan.source_rows import BuiltShard, SourceRows, write_source
from greennode_batch.source.column_types import unify
from greennode_batch.staging.folders import RunFolder, land
from greennode_batch.state.plan import PlannedShard

_ID_CHARACTERS = 32


class CopiedShard(BuiltShard):
    """A copied shard while it is built.

    into: the ids of the targets that get its rows.
    name: the prefix of its files in `work`.
    """

    def __init__(self, model: str, into: tuple[str, ...], work: Path, name: str) -> None:
        super().__init__(SourceRows(work, name))
        self._model = model
        self._into = into
        self._answers = SourceRows(work, f"{name}.copied")
        self._made = work / f"{name}.copied.parquet"
        self._hash = hashlib.sha256(repr(into).encode())

    @property
    def shard_id(self) -> str:
        """A hash of its rows and of the targets that get them."""
        return self._hash.hexdigest()[:_ID_CHARACTERS]

    def add(self, rows: pa.Table, answers: pa.Table) -> None:
        """Add rows as source.parquet has them, and what the target stores for each."""
        self.rows.add(rows)
        self._answers.add(answers)
        for table in (rows, answers):
            self._hash.update(_bytes_of(table))

    def close(self, run: RunFolder) -> None:
        """Move the stored answers to staging, and free all rows."""
        self.rows.close()
        self._answers.close()
        write_source(self._answers.files(), unify(self._answers.schemas()), self._made)
        folder = run.shard(self.shard_id)
        land(self._made, folder.copied)
        self._made.write_bytes(b"")
        land(self._made, folder.requests)

    def planned(self) -> PlannedShard:
        """The shard's entry in the plan."""
        return PlannedShard(
            shard_id=self.shard_id,
            model=self._model,
            requests=0,
            rows=len(self.rows),
            bytes=0,
            prompt_tokens=0,
            max_completion_tokens=0,
            copied_into=self._into,
        )


def _bytes_of(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()
