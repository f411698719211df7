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

    name: the prefix of its files in `work`. max_prompt_tokens: an estimate that it stays below; None for no limit.
    """

    def __init__(
        self, model: str, work: Path, name: str, limits: ShardLimits, *, max_prompt_tokens: int | None = None
    ) -> None:
        super().__init__(SourceRows(work, name))
        self.model = model
        self._file = ShardFile(work / f"{name}.jsonl", limits)
        self._max_prompt_tokens = max_prompt_tokens
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
        count = self._file.take(requests.lines[start : self._token_limit(requests, start)])
        self._characters += sum(requests.characters[start : start + count])
        self._text_bytes += self._file.bytes - before - sum(requests.other_bytes[start : start + count])
        tokens = requests.prompt_tokens
        self._counted = total((self._counted, sum(tokens[start : start + count]) if tokens is not None else None))
        self._max_tokens = total((self._max_tokens, *requests.max_tokens[start : start + count]))
        return count

    def _token_limit(self, requests: RequestLines, start: int) -> int:
        """The index of the first request that is too much; a single one that is too large is alone in its shard."""
        if self._max_prompt_tokens is None:
            return len(requests.lines)
        characters, text_bytes, counted = self._characters, self._text_bytes, self._counted
        for index in range(start, len(requests.lines)):
            characters += requests.characters[index]
            text_bytes += len(requests.lines[index]) - requests.other_bytes[index]
            if counted is not None and requests.prompt_tokens is not None:
                tokens = counted = counted + requests.prompt_tokens[index]
            else:
                tokens = estimate_tokens(characters, text_bytes)
            if tokens > self._max_prompt_tokens:
                return index if self._file.requests else max(index, start + 1)
        return len(requests.lines)

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
