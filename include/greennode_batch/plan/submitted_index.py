"""Submitted index: the rows and requests of shards that stay, on disk, so that a large run needs no more memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

_CACHE_KIB = 8_192


class SubmittedIndex:
    """Finds rows by the texts of their key, as source.parquet stores it, and requests by custom_id."""

    def __init__(self, work: Path) -> None:
        # The database is discarded if this process dies, so it needs no durability.
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
        """Add the rows of a shard. custom_ids: NULL for rows that are not sent."""
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
        """Map each of these keys that is in a shard to its models and samples there."""
        found: dict[str, set[tuple[str, int]]] = {}
        requested = "SELECT key, model, sample FROM rows WHERE key IN (SELECT value FROM json_each(?))"
        for key, model, sample in self._database.execute(requested, (json.dumps(list(keys)),)):
            found.setdefault(key, set()).add((model, sample))
        return found

    def indexes_of(self, custom_ids: Iterable[str]) -> Mapping[str, int]:
        """Map each of these requests that is in a shard to the shard's index."""
        requested = "SELECT custom_id, place FROM requests WHERE custom_id IN (SELECT value FROM json_each(?))"
        return dict(self._database.execute(requested, (json.dumps(list(custom_ids)),)))

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def key_texts(keys: pa.Table) -> Sequence[str]:
    """Each key as one text. Two texts are equal exactly if all columns are equal."""
    columns = [column.cast(pa.string()).to_pylist() for column in keys.columns]
    return list(map(json.dumps, zip(*columns, strict=True)))
