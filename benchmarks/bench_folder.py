"""The files of one benchmark at one size, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BenchFolder:
    """rows.parquet for all; below `engine/` and `floor/` the files that each makes of it, and the results it reads."""

    path: Path

    @property
    def rows(self) -> Path:
        """The source: `id` and `text`."""
        return self.path / "rows.parquet"

    @property
    def engine_staging(self) -> Path:
        """The folder of the engine's run."""
        return self.path / "engine" / "staging"

    @property
    def engine_answers(self) -> Path:
        """The dataset that the engine writes."""
        return self.path / "engine" / "answers"

    def engine_results(self, shard_id: str) -> Path:
        """The server's answers to a shard."""
        return self.path / "engine" / "results" / f"{shard_id}.jsonl"

    def typed_results(self, shard_id: str) -> Path:
        """The same answers as JSON that fits an answer model."""
        return self.path / "engine" / "typed" / f"{shard_id}.jsonl"

    def floor_requests(self, number: int) -> Path:
        """The floor's n-th file of requests."""
        return self.path / "floor" / "requests" / f"{number}.jsonl"

    def floor_results(self, number: int) -> Path:
        """The server's answers to it."""
        return self.path / "floor" / "results" / f"{number}.jsonl"

    @property
    def floor_answers(self) -> Path:
        """The folder of Parquet files that the floor writes."""
        return self.path / "floor" / "answers"
