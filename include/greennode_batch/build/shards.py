"""Shards: request lines cut into files that the API accepts, each named by the hash of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from greennode_batch.api.profile import ApiProfile
from greennode_batch.job import BatchJob


class ShardLimits(NamedTuple):
    """What a batch file may have at most."""

    max_requests: int
    max_bytes: int


def shard_limits(job: BatchJob, profile: ApiProfile) -> ShardLimits:
    """The job's own caps, where they lie below the API's."""
    return ShardLimits(
        max_requests=min(job.max_shard_requests or profile.max_requests, profile.max_requests),
        max_bytes=min(job.max_shard_bytes or profile.max_file_bytes, profile.max_file_bytes),
    )


class Shard(NamedTuple):
    """A finished batch file: its id (hex of a 128-bit BLAKE2b of the bytes), its lines, bytes and place."""

    shard_id: str
    requests: int
    bytes: int
    path: Path


class ShardFile:
    """A batch file being written: one model's lines, within the limits.

    Holds no line. Ask `fits` before `add`; a line that fits no empty file fits no file at all.
    """

    def __init__(self, path: Path, limits: ShardLimits) -> None:
        self._path = path
        self._limits = limits
        self._requests = 0
        self._bytes = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)

    def fits(self, line: bytes) -> bool:
        """Whether the line can be added with no limit broken."""
        max_requests, max_bytes = self._limits
        return self._requests < max_requests and self._bytes + len(line) <= max_bytes

    def add(self, line: bytes) -> None:
        """Write one line, which ends in a newline."""
        self._file.write(line)
        self._hash.update(line)
        self._requests += 1
        self._bytes += len(line)

    def close(self) -> Shard:
        """The finished file."""
        self._file.close()
        return Shard(self._hash.hexdigest(), self._requests, self._bytes, self._path)
