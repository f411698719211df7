"""Attempts: what each of them sent, got and used, added up shard by shard."""

from __future__ import annotations

from collections import Counter

import msgspec
import pyarrow as pa
import pyarrow.compute as pc


class AttemptReport(msgspec.Struct, frozen=True):
    """What one attempt sent and got. Tokens are counted once a request and attempt, as they are paid."""

    attempt: int
    shards: int
    requests: int
    statuses: dict[str, int]
    prompt_tokens: int
    completion_tokens: int


class Tally:
    """Adds up what an attempt sent and got."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.shards = 0
        self.requests = 0
        self._statuses: Counter[str] = Counter()
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def add(self, requests: int, results: pa.Table | None) -> None:
        """A shard that was sent, and its results if it is collected."""
        self.shards += 1
        self.requests += requests
        if results is None:
            return
        for entry in pc.value_counts(results["status"]).to_pylist():
            self._statuses[entry["values"]] += entry["counts"]
        self._prompt_tokens += pc.sum(results["prompt_tokens"]).as_py() or 0
        self._completion_tokens += pc.sum(results["completion_tokens"]).as_py() or 0

    def report(self) -> AttemptReport:
        """What was added up."""
        return AttemptReport(
            attempt=self.attempt,
            shards=self.shards,
            requests=self.requests,
            statuses=dict(self._statuses.most_common()),
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
        )
