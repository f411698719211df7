"""Anomalies: lines of result files that settle no request, kept in full for a person to read, and counted by kind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from greennode_batch.api.results.result_lines import iter_lines
from greennode_batch.staging.folders import ShardFolder, local_copy

_KEPT_BYTES = 4_000


class AnomalyLine(msgspec.Struct, frozen=True):
    """One line of anomalies.jsonl. `line` is the server's line, up to some thousand bytes."""

    kind: str
    file: str
    custom_id: str | None
    line: str


class AnomalyLog:
    """Writes anomalies to a file, which is made with the first of them. Close it."""

    def __init__(self, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def note(self, kind: str, file: Path, line: bytes, custom_id: str | None = None) -> None:
        """Count an anomaly and keep its line."""
        self.counts[kind] += 1
        if self._file is None:
            self._file = self._path.open("wb")
        shown = line[:_KEPT_BYTES].decode("utf-8", "backslashreplace")
        self._file.write(_encode(AnomalyLine(kind, file.name, custom_id, shown)) + b"\n")


def count_anomalies(shard: ShardFolder) -> Counter[str]:
    """The anomalies of a collected shard by kind."""
    counts: Counter[str] = Counter()
    if shard.anomalies.exists():
        with local_copy(shard.anomalies) as path, path.open("rb") as file:
            counts.update(_decode(line).kind for line in iter_lines(file))
    return counts


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnomalyLine).decode
