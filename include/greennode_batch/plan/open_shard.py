"""Open shard: a batch file that the builder is writing, and the source rows of its requests."""

from __future__ import annotations

from pathlib import Path

from greennode_batch.cost.estimate import estimate_tokens
from greennode_batch.plan.shard_file import ShardFile, ShardLimits
from greennode_batch.plan.source_rows import BuiltShard, SourceRows
from greennode_batch.request.request_lines import RequestLines
from greennode_batch.staging.folders import RunFolder, land
from greennode_batch.state.cost_estimate import total
from greennode_batch.state.plan import PlannedShard


class OpenShard(BuiltShard):
    """A shard's batch file, and the rows that it answers, including rows that come after the file is full.

    name: the prefix of its files in `work`.
    """

    def __init__(self, model: str, work: Path, name: str, limits: ShardLimits) -> None:
        super().__init__(SourceRows(work, name))
        self.model = model
        self._file = ShardFile(work / f"{name}.jsonl", limits)
        self._characters = 0
        self._text_bytes = 0
        self._max_tokens: int | None = 0
        self._counted: int | None = 0

    @property
    def shard_id(self) -> str:
        """The hash of the file's bytes, once it is closed."""
        return self._file.shard_id

    def take(self, requests: RequestLines, start: int) -> int:
        """Add requests from index `start` on until a limit is reached, and return how many were added."""
        before = self._file.bytes
        count = self._file.take(requests.lines[start:])
        self._characters += sum(requests.characters[start : start + count])
        self._text_bytes += self._file.bytes - before - sum(requests.other_bytes[start : start + count])
        tokens = requests.prompt_tokens
        self._counted = total((self._counted, sum(tokens[start : start + count]) if tokens is not None else None))
        self._max_tokens = total((self._max_tokens, *requests.max_tokens[start : start + count]))
        return count

    def close(self, run: RunFolder) -> None:
        """Move the batch file to staging, and free all rows."""
        self._file.close()
        self.rows.close()
        land(self._file.path, run.shard(self.shard_id).requests)

    def planned(self) -> PlannedShard:
        """The shard's entry in the plan."""
        estimated = estimate_tokens(self._characters, self._text_bytes)
        return PlannedShard(
            shard_id=self.shard_id,
            model=self.model,
            requests=self._file.requests,
            rows=len(self.rows),
            bytes=self._file.bytes,
            prompt_tokens=estimated if self._counted is None else self._counted,
            max_completion_tokens=self._max_tokens,
        )
