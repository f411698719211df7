"""Answer cache: for each row that a run knows in a table, the hashes of its key and of its input.

There is one file for each table, beside the folders of the runs: an array in NumPy's format (.npy), followed by a JSON
document (Header). The array has two rows: the sorted hashes of all keys, and in the same order the hashes of the
inputs, 0 for a row without a valid answer. If the row's outcome is final, its status and the answer model are mixed
into the hash of the input.

The cache only saves work. The table is the truth, and a cache is used only while the table is exactly as it was when
the cache was written.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from upath import UPath

from greennode_batch.errors import GreenNodeError
from greennode_batch.incremental.answered import ANSWERED, FINAL_CODES, SETTLED, Codes
from greennode_batch.incremental.row_hashes import ROW_HASHES, RowHashes
from greennode_batch.staging.folders import RunFolder, land, local_path
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.table_digest import TableDigest
from greennode_batch.tables.fingerprint import mix_in

log = logging.getLogger(__name__)

# Increase it if the file's format changes, or if equal inputs begin to make other requests.
_VERSION = 2
_BUCKET_ROWS = 1 << 18
_HALF = np.uint64(32)
_HASH = ROW_HASHES["key"]


class RepeatedKeyError(GreenNodeError):
    """Two rows have the same key hash, so the cache cannot tell them apart, nor whether a key occurs twice."""


class Header(msgspec.Struct, frozen=True):
    """Which requests and which state of the table a cache is valid for."""

    valid_for: str
    """A hash of everything besides the row that determines its request."""
    table: TableDigest
    """A digest of all rows of the table."""
    orphaned: OrphanedRows | None = msgspec.field(default=None, name="left")
    """The rows of the table that the cache does not have, if they are known."""


class AnswerCache:
    """A cache that is read. Holds at most two bytes a row; the file is memory-mapped."""

    def __init__(self, header: Header, hashes: npt.NDArray[np.uint64]) -> None:
        """hashes: the sorted hashes of the keys, and those of the inputs."""
        self.header = header
        self._keys, self._inputs = hashes
        self.rows = len(self._keys)
        self._last = self.rows - 1
        self._is_seen = np.zeros(self.rows, np.bool_)
        # The index of the first key with each leading bit pattern: stepping on from there is faster than a search among
        # all keys.
        bits = max(1, self.rows.bit_length() - 3)
        self._shift = np.uint64(64 - bits)
        starts = np.searchsorted(self._keys, np.arange(1 << bits, dtype=np.uint64) << self._shift)
        self._starts = np.minimum(starts, self._last).astype(np.uint32)

    def settled(self, hashes: RowHashes, final_for: str | None) -> Codes:
        """The code of each row that has a valid answer or a final outcome for the same key and input.

        final_for: see `settled` in answered.py. Raises RepeatedKeyError if two rows of the source match one row of the
            cache.
        """
        keys, inputs = np.ascontiguousarray(hashes["key"]), hashes["input"]
        indexes = self._indexes(keys)
        is_there = (self._keys[indexes] == keys) & (keys != 0)
        found = np.sort(indexes[is_there])
        if self._is_seen[found].any() or (found[1:] == found[:-1]).any():
            raise RepeatedKeyError("two rows of the source match one row of the answer cache")
        self._is_seen[found] = True
        cached = self._inputs[indexes] * (is_there & (inputs != 0))
        codes = np.where((cached == inputs) & (cached != 0), np.uint8(ANSWERED), np.uint8(0))
        others = np.flatnonzero((cached != 0) & (codes == 0))
        if final_for is not None and others.size:
            for code in FINAL_CODES:
                wanted = cached_hashes(hashes[others], np.full(len(others), code, np.uint8), final_for)
                codes[others[cached[others] == wanted["input"]]] = code
        return codes

    def _indexes(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The index of each key, if the cache has it."""
        indexes: npt.NDArray[np.int64] = self._starts[keys >> self._shift].astype(np.int64)
        behind = np.arange(len(keys))
        while behind.size:
            here = indexes[behind]
            behind = behind[(self._keys[here] < keys[behind]) & (here < self._last)]
            indexes[behind] += 1
        return indexes

    @property
    def seen(self) -> int:
        """How many rows of the cache the source has had so far."""
        return int(np.count_nonzero(self._is_seen))


def cached_hashes(hashes: RowHashes, codes: Codes, final_for: str) -> RowHashes:
    """Encode the outcomes of rows into their hashes, as a cache stores them.

    final_for: the answer model for which their outcomes are final.
    """
    made = hashes.copy()
    made["input"][codes == 0] = 0
    for code in FINAL_CODES:
        is_final = (codes == code) & (made["input"] != 0)
        if is_final.any():
            words = f"{SETTLED[code - 1]} {final_for}".encode()
            inputs = made["input"][is_final]
            mix_in(inputs, np.frombuffer(hashlib.blake2b(words, digest_size=8).digest(), "<u8"))
            made["input"][is_final] = inputs
    return made


def answer_cache_path(run: RunFolder, table: str) -> UPath:
    """The path of a table's cache. No run's folder has a name that begins with a dot."""
    return run.path.parent / f".answered-{hashlib.blake2b(table.encode(), digest_size=8).hexdigest()}"


def validity(*parts: Any) -> str:
    """A hash of everything besides the rows that determines requests. parts: values that JSON can represent."""
    # Another version of Jinja may render the same row differently.
    parts = (_VERSION, version("jinja2"), *parts)
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def read_answer_cache(path: UPath, work: Path, *, valid_for: str, table: TableDigest) -> AnswerCache | None:
    """Read a cache that is valid for these requests and the table as it is now; else return None and log why.

    work: a folder on local disk for a copy from an object store. It must outlive the cache.
    """
    try:
        local = local_path(path)
        if local is None:
            local = work / "answered.copy"
            path.fs.get_file(path.path, str(local))
        hashes = np.load(local, mmap_mode="r")
        with local.open("rb") as file:
            file.seek(hashes.offset + hashes.nbytes)
            header = msgspec.json.decode(file.read(), type=Header)
    except FileNotFoundError:
        return None  # as before each first run
    except (ValueError, EOFError, msgspec.MsgspecError) as error:
        log.warning("%s: not a readable answer cache (%s); each row is looked up in the table", path, error)
        return None
    if header.valid_for != valid_for:
        log.info(
            "The prompt, parameters, models, key or another setting of the requests changed after the answer cache was "
            "written; each row is looked up in the table"
        )
        return None
    if header.table != table:
        log.info("The table changed after its answer cache was written; each row is looked up in the table")
        return None
    return AnswerCache(header, np.asarray(hashes)) if hashes.size else None


def write_answer_cache(
    path: UPath,
    work: Path,
    entries: Iterable[RowHashes],
    *,
    valid_for: str,
    table: TableDigest,
    orphaned: OrphanedRows | None,
) -> None:
    """Write a cache as one file. Holds a part of the entries. Raises RepeatedKeyError.

    work: a folder on local disk.
    entries: in any order, one for each row that the cache is to know.
    orphaned: the rows of the table that are not among them, if they are known.
    """
    buckets = [work / f"answered.{number:04}" for number in range(max(1, table.rows // _BUCKET_ROWS))]
    rows = sum(_distribute(some, buckets) for some in entries)
    made = work / "answered"
    with made.open("wb") as file:
        shape = {"descr": _HASH.str, "fortran_order": False, "shape": (2, rows)}
        np.lib.format.write_array_header_1_0(file, shape)
        start = file.tell()
        for bucket in filter(Path.exists, buckets):
            ordered = np.fromfile(bucket, ROW_HASHES)
            bucket.unlink()
            ordered = ordered[np.argsort(ordered["key"])]
            if (ordered["key"][1:] == ordered["key"][:-1]).any():
                raise RepeatedKeyError("two rows have the same key hash")
            for row, name in enumerate(("key", "input")):
                file.seek(start + row * rows * _HASH.itemsize)
                file.write(ordered[name].tobytes())
            start += len(ordered) * _HASH.itemsize
        file.seek(0, os.SEEK_END)
        file.write(msgspec.json.encode(Header(valid_for=valid_for, table=table, orphaned=orphaned)))
    land(made, path)


def _distribute(entries: RowHashes, buckets: Sequence[Path]) -> int:
    """Distribute entries with a known key hash to files by its first bits, and return how many these are."""
    entries = entries[entries["key"] != 0]
    indexes = (entries["key"] >> _HALF) * np.uint64(len(buckets)) >> _HALF
    order = np.argsort(indexes, kind="stable")
    ends = np.searchsorted(indexes[order], np.arange(1, len(buckets) + 1))
    for bucket, begin, end in zip(buckets, [0, *ends], ends, strict=False):
        if end > begin:
            with bucket.open("ab") as file:
                file.write(entries[order[begin:end]].tobytes())
    return len(entries)
