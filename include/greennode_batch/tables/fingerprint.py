"""Fingerprints: one number for any number of rows, independent of their order and of how they are divided.

Two sides with the same rows have the same count and sum, so ten million rows can be compared without holding them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.state.rows_fingerprint import NO_ROWS, RowsFingerprint
from greennode_batch.tables.text_hashes import Hashes, text_hashes

# joined.json keeps fingerprints made with this key: a different key would change all of them.
_HASH_KEY = "greennode-airflo"
_ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
# No text in a database contains it, so NULL differs from every text.
_NULL = "\x00"


def fingerprint(tables: Iterable[pa.Table], key: Sequence[str]) -> RowsFingerprint:
    """The fingerprint of all rows of the tables. Holds one table."""
    made = NO_ROWS
    for rows in tables:
        total = int(row_hashes(rows, key).sum(dtype=np.uint64)) if rows.num_rows else 0
        made = made.joined_with(RowsFingerprint(rows.num_rows, total))
    return made


def row_hashes(rows: pa.Table, key: Sequence[str]) -> Hashes:
    """A 64-bit hash of each row's key, custom_id and status as text; the same in every process."""
    made = np.zeros(rows.num_rows, np.uint64)
    for name in (*key, "custom_id", "status"):
        # Without mixing, two rows could swap their statuses and the sum would stay the same.
        mix_in(made, _few_hashes(rows[name]) if name == "status" else _hashes(rows[name]))
    return made


def mix_in(made: Hashes, hashes: Hashes) -> None:
    """Mix a column's hashes into those of the columns before it, so that swapped values change the result."""
    made ^= hashes
    for _ in range(2):
        made *= _ODD
        made ^= made >> _HALF


def _hashes(column: pa.ChunkedArray | pa.Array) -> Hashes:
    return text_hashes(_texts(column), _HASH_KEY)


def _few_hashes(column: pa.ChunkedArray) -> Hashes:
    """Hash a column with few distinct values, each of them once."""
    column = column.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    made: Hashes = _hashes(column.dictionary)[column.indices.to_numpy()]
    return made


def _texts(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.object_]:
    texts = column.cast(pa.string())
    if pc.any(pc.match_substring(texts, "\x00")).as_py():
        # PostgreSQL cannot store U+0000; U+FFFD is written in its place.
        texts = pc.replace_substring(texts, "\x00", "\ufffd")
    made: npt.NDArray[np.object_] = pc.fill_null(texts, _NULL).to_numpy(zero_copy_only=False)
    return made
