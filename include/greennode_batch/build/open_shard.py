"""An open shard: a batch file that the builder writes, and the source rows that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.build.shards import Shard, ShardFile
from greennode_batch.build.source_rows import SourceRows
from greennode_batch.spend import estimate_tokens
from greennode_batch.staging import RunFolder, land


class PlannedShard(msgspec.Struct, frozen=True):
    """One batch file. `rows`: the source rows that it answers, more than `requests` if some ask the same.

    `prompt_tokens` is an estimate, by the length of the texts.
    """

    shard_id: str
    model: str
    requests: int
    rows: int
    bytes: int
    prompt_tokens: int


class OpenShard:
    """A shard's file, and the rows that it answers: also those that come after the file is full."""

    def __init__(self, model: str, file: ShardFile, kept_names: Sequence[str]) -> None:
        self.model = model
        self.file = file
        self.rows = SourceRows(kept_names)
        self._kept_names = kept_names
        self._characters = 0
        self._text_bytes = 0
        self._early_rows: Path | None = None
        self._early_count = 0
        self._shard: Shard | None = None

    @property
    def shard_id(self) -> str:
        """The hash of the file's bytes, once it is closed."""
        assert self._shard is not None
        return self._shard.shard_id

    def add(self, line: bytes, *, characters: int, constant_bytes: int) -> None:
        """Add a request whose texts have so many characters; the line has so many bytes beside them."""
        self.file.add(line)
        self._characters += characters
        self._text_bytes += len(line) - constant_bytes

    def close(self, run: RunFolder) -> None:
        """Land the file of requests, and put the rows so far aside on disk."""
        self._shard = self.file.close()
        self._early_rows = self._shard.path.with_suffix(".parquet")
        self._early_count = len(self.rows)
        pq.write_table(self.rows.table(), self._early_rows)
        self.rows = SourceRows(self._kept_names)
        land(self._shard.path, run.shard(self.shard_id).requests)

    def is_stored_as(self, schema: pa.Schema) -> bool:
        """Never: its rows are not in staging yet."""
        return False

    def parts(self) -> list[pa.Table]:
        """The rows from before the file was closed, and those from after it."""
        assert self._early_rows is not None
        return [pq.read_table(self._early_rows), self.rows.table()]

    def schemas(self) -> list[pa.Schema]:
        """The columns of both."""
        assert self._early_rows is not None
        return [pq.read_schema(self._early_rows), self.rows.table().schema]

    def planned(self) -> PlannedShard:
        """The shard as the plan tells it."""
        assert self._shard is not None
        return PlannedShard(
            shard_id=self.shard_id,
            model=self.model,
            requests=self._shard.requests,
            rows=self._early_count + len(self.rows),
            bytes=self._shard.bytes,
            prompt_tokens=estimate_tokens(self._characters, self._text_bytes),
        )
