"""Kept index: which rows and requests lie in shards that stay. It is on disk: a large run takes no more memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

_CACHE_KIB = 8_192


class SubmittedIndex:
    """Rows by the texts of their key as source.parquet keeps it, requests by custom_id."""

    def __init__(self, work: Path) -> None:
        # It is void if this process dies, so nothing need be safe from that.
        self._database = sqlite3.connect(work / "kept.sqlite", isolation_level=None)
        self._database.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};"
            "CREATE TABLE rows (key TEXT, model TEXT, sample INTEGER, PRIMARY KEY (key, model, sample)) WITHOUT ROWID;"
            "CREATE TABLE requests (custom_id TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID;"
        )

    def add(
        self,
        keys: pa.Table,
        models: pa.ChunkedArray | pa.Array,
        samples: pa.ChunkedArray | pa.Array,
        custom_ids: pa.ChunkedArray,
        index: int,
    ) -> None:
        """The rows of a shard. custom_ids: NULL where a row is not sent."""
        self._database.execute("BEGIN")
        rows = zip(key_texts(keys), models.to_pylist(), samples.to_pylist(), strict=True)
        self._database.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", rows)
        requested = custom_ids.drop_null().unique().to_pylist()
        self._database.executemany("INSERT OR IGNORE INTO requests VALUES (?, ?)", ((one, index) for one in requested))
        self._database.execute("COMMIT")

    @property
    def rows(self) -> int:
        """How many keys lie in the shards."""
        (count,) = self._database.execute("SELECT count(DISTINCT key) FROM rows").fetchone()
        return int(count)

    def custom_ids_of(self, keys: Iterable[str]) -> Mapping[str, set[tuple[str, int]]]:
        """For each of these keys that lies in a shard, the models and samples that are asked about it."""
        found: dict[str, set[tuple[str, int]]] = {}
        requested = "SELECT key, model, sample FROM rows WHERE key IN (SELECT value FROM json_each(?))"
        for key, model, sample in self._database.execute(requested, (json.dumps(list(keys)),)):
            found.setdefault(key, set()).add((model, sample))
        return found

    def indexes_of(self, custom_ids: Iterable[str]) -> Mapping[str, int]:
        """For each of these requests that lies in a shard, the place of that shard."""
        requested = "SELECT custom_id, place FROM requests WHERE custom_id IN (SELECT value FROM json_each(?))"
        return dict(self._database.execute(requested, (json.dumps(list(custom_ids)),)))

    def close(self) -> None:
        """Let the file go."""
        self._database.close()


def key_texts(keys: pa.Table) -> Sequence[str]:
    """Each key as one text: equal exactly where all its columns are."""
    columns = [column.cast(pa.string()).to_pylist() for column in keys.columns]
    return list(map(json.dumps, zip(*columns, strict=True)))
