"""The note of what a table has answered: for each of its rows that a run knows of, the hashes of key and input.

One file a table, beside the runs' folders: an array as NumPy saves it (.npy), and behind it a JSON document (Header).
The array has two rows: all hashes of keys, sorted, and in that order those of the inputs, 0 where there is no good
answer. Where it is final that there is none, the status and the answer model are mixed into the input's hash. It only
spares work: the table is the truth, and a note counts while the table is just as it was when the note was made.
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

# Raise it when this file is written otherwise, or when equal inputs come to make other requests.
_VERSION = 2
_BUCKET_ROWS = 1 << 18
_HALF = np.uint64(32)
_HASH = ROW_HASHES["key"]


class RepeatedKeyError(GreenNodeError):
    """Two rows of the source look like one of the note: it cannot tell which, nor whether a key comes twice."""


class Header(msgspec.Struct, frozen=True):
    """valid_for: a hash of all that makes a request of a row. table: all rows of the table, as it told them.

    orphaned: which rows of the table the note does not have, if it is known.
    """

    valid_for: str
    table: TableDigest
    orphaned: OrphanedRows | None = msgspec.field(default=None, name="left")


class AnswerCache:
    """A note that is read. Holds two bytes a row at most; the file is mapped."""

    def __init__(self, header: Header, hashes: npt.NDArray[np.uint64]) -> None:
        """hashes: those of the keys, sorted, and those of the inputs."""
        self.header = header
        self._keys, self._inputs = hashes
        self.rows = len(self._keys)
        self._last = self.rows - 1
        self._is_seen = np.zeros(self.rows, np.bool_)
        # Where the keys begin whose first bits are these: some steps from there are fewer than a search among all.
        bits = max(1, self.rows.bit_length() - 3)
        self._shift = np.uint64(64 - bits)
        starts = np.searchsorted(self._keys, np.arange(1 << bits, dtype=np.uint64) << self._shift)
        self._starts = np.minimum(starts, self._last).astype(np.uint32)

    def settled(self, hashes: RowHashes, final_for: str | None) -> Codes:
        """Which rows have a good answer or a final outcome, by the same key and input. Raises RepeatedKeyError.

        final_for: see `settled` of answered.py.
        """
        keys, inputs = np.ascontiguousarray(hashes["key"]), hashes["input"]
        indexes = self._indexes(keys)
        is_there = (self._keys[indexes] == keys) & (keys != 0)
        found = np.sort(indexes[is_there])
        if self._is_seen[found].any() or (found[1:] == found[:-1]).any():
            raise RepeatedKeyError("two rows of the source have the key of one row of the note")
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
        """Where each of these keys is, if it is there at all."""
        indexes: npt.NDArray[np.int64] = self._starts[keys >> self._shift].astype(np.int64)
        behind = np.arange(len(keys))
        while behind.size:
            here = indexes[behind]
            behind = behind[(self._keys[here] < keys[behind]) & (here < self._last)]
            indexes[behind] += 1
        return indexes

    @property
    def seen(self) -> int:
        """How many of its rows the source has had so far."""
        return int(np.count_nonzero(self._is_seen))


def cached_hashes(hashes: RowHashes, codes: Codes, final_for: str) -> RowHashes:
    """The hashes of rows as a note has them, by what they have come to.

    final_for: the answer model that their outcomes are final for.
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
    """Where the note about a table lies. No run's folder has a name that begins with a dot."""
    return run.path.parent / f".answered-{hashlib.blake2b(table.encode(), digest_size=8).hexdigest()}"


def validity(*parts: Any) -> str:
    """A hash over what makes requests beside the rows, of values that JSON can hold."""
    # Another version of Jinja may render the same row otherwise.
    parts = (_VERSION, version("jinja2"), *parts)
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()


def read_answer_cache(path: UPath, work: Path, *, valid_for: str, table: TableDigest) -> AnswerCache | None:
    """The note if it is of these requests and of the table as it is; else None, and the log says why one is not used.

    work: a folder on local disk that outlives the note, for a copy of one that lies in an object store.
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
        log.warning("%s: is no note that can be used (%s); each row is looked up in the table", path, error)
        return None
    if header.valid_for != valid_for:
        log.info("What is asked is not what the note is about (prompt, parameters, models or key), so it is not used")
        return None
    if header.table != table:
        log.info("The table is not as the last run left it, so each row is looked up there")
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
    """Write a note, whole. Holds some of the entries. work: a folder on local disk. Raises RepeatedKeyError.

    entries: in any order, one for each row that the note is to tell of. orphaned: the rows of the table that are not
    among them, if that is known.
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
                raise RepeatedKeyError("two rows have the same hash of their keys")
            for row, name in enumerate(("key", "input")):
                file.seek(start + row * rows * _HASH.itemsize)
                file.write(ordered[name].tobytes())
            start += len(ordered) * _HASH.itemsize
        file.seek(0, os.SEEK_END)
        file.write(msgspec.json.encode(Header(valid_for=valid_for, table=table, orphaned=orphaned)))
    land(made, path)


def _distribute(entries: RowHashes, buckets: Sequence[Path]) -> int:
    """Put entries into files by the first bits of their keys; how many these are. Of others the key is not told."""
    entries = entries[entries["key"] != 0]
    indexes = (entries["key"] >> _HALF) * np.uint64(len(buckets)) >> _HALF
    order = np.argsort(indexes, kind="stable")
    ends = np.searchsorted(indexes[order], np.arange(1, len(buckets) + 1))
    for bucket, begin, end in zip(buckets, [0, *ends], ends, strict=False):
        if end > begin:
            with bucket.open("ab") as file:
                file.write(entries[order[begin:end]].tobytes())
    return len(entries)
