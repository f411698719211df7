"""Shard file: request lines in a file that the API accepts, named by the hash of its bytes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from greennode_batch.api.profile import ApiProfile
from greennode_batch.job.batch_job import BatchJob

_ID_CHARACTERS = 32


class ShardLimits(NamedTuple):
    """The limits of a batch file."""

    max_requests: int
    max_bytes: int


def shard_limits(job: BatchJob, profile: ApiProfile) -> ShardLimits:
    """The API's limits, lowered to the job's where those are smaller."""
    return ShardLimits(
        max_requests=min(job.max_shard_requests or profile.max_requests, profile.max_requests),
        max_bytes=min(job.max_shard_bytes or profile.max_file_bytes, profile.max_file_bytes),
    )


class ShardFile:
    """A batch file that is being written: the lines of one model, within the limits. Holds no line."""

    def __init__(self, path: Path, limits: ShardLimits) -> None:
        self.path = path
        self._limits = limits
        self.shard_id = ""
        """The hex of the SHA-256 of the file's bytes, cut to 128 bits; empty until the file is closed."""
        self.requests = 0
        self.bytes = 0
        # Most processors have instructions for SHA-256, which makes it more than twice as fast as BLAKE2b here.
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("wb", buffering=0)

    def take(self, lines: Sequence[bytes]) -> int:
        """Add as many of the first lines, each with its newline, as the limits allow, and return how many were added.

        A line that does not fit into an empty file fits into no file.
        """
        taken = lines[: self._limits.max_requests - self.requests]
        content = b"".join(taken)
        room = self._limits.max_bytes - self.bytes
        if len(content) > room:
            fitting = itertools.takewhile(lambda size: size <= room, itertools.accumulate(map(len, taken)))
            taken = taken[: sum(1 for _ in fitting)]
            content = b"".join(taken)
        self._file.write(content)
        self._hash.update(content)
        self.requests += len(taken)
        self.bytes += len(content)
        return len(taken)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        self.shard_id = self._hash.hexdigest()[:_ID_CHARACTERS]
