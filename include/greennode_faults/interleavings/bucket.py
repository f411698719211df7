"""A bucket in memory, with the promises of an object store: each file lands complete, and is visible at once.

One kind honours `If-None-Match: *`, the other ignores it, as some stores do. Each operation is a step.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem, register_implementation
from upath import UPath
from upath.implementations.cloud import CloudPath
from upath.registry import register_implementation as register_path

from greennode_faults.interleavings.workers import step

PROTOCOL = "interleaved"
HONOURS, IGNORES = "honours", "ignores"


class Stored(NamedTuple):
    """A file, and when it was put."""

    data: bytes
    written: datetime


_buckets: dict[str, dict[str, Stored]] = {HONOURS: {}, IGNORES: {}}
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class _Clock:
    """The store's clock: no two files have the same time."""

    puts = 0

    @classmethod
    def now(cls) -> datetime:
        cls.puts += 1
        return _BEGAN + timedelta(milliseconds=cls.puts)


class BucketFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no annotations
    """The buckets as fsspec has them. Paths begin with the bucket's name."""

    protocol = PROTOCOL
    cachable = True

    def _of(self, path: str) -> tuple[dict[str, Stored], str]:
        bucket, _, key = self._strip_protocol(path).partition("/")
        return _buckets[bucket], key

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Put a file; with mode `create` only if there is none, if the bucket honours that."""
        files, key = self._of(path)
        step(f"put {key}")
        if mode == "create" and files is _buckets[HONOURS] and key in files:
            raise FileExistsError(path)
        files[key] = Stored(bytes(value), _Clock.now())

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file."""
        files, key = self._of(path)
        step(f"get {key}")
        if key not in files:
            raise FileNotFoundError(path)
        return files[key].data[start:end]

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        """Put a local file."""
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """Download a file to local disk."""
        Path(lpath).write_bytes(self.cat_file(rpath))

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file inside the store."""
        self.pipe_file(path2, self.cat_file(path1))

    def rm_file(self, path: str) -> None:
        """Delete a file. A missing file is not an error, as with S3."""
        files, key = self._of(path)
        step(f"delete {key}")
        files.pop(key, None)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002
        """Delete a file, or all below a path."""
        files, key = self._of(path)
        if not recursive:
            self.rm_file(path)
            return
        step(f"delete all of {key}")
        for name in [name for name in files if name == key or name.startswith(f"{key}/")]:
            del files[name]

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002
        """The contents of a folder, or the file itself."""
        bucket = self._strip_protocol(path).partition("/")[0]
        files, key = self._of(path)
        step(f"list {key}")
        start = f"{key.rstrip('/')}/" if key else ""
        found: dict[str, Mapping[str, Any]] = {}
        for name, stored in list(files.items()):
            if name == key:
                found[name] = self._info(bucket, name, stored)
            elif name.startswith(start):
                child, is_below, _rest = name[len(start) :].partition("/")
                below = f"{bucket}/{start}{child}"
                if is_below:
                    found.setdefault(child, {"name": below, "size": 0, "type": "directory"})
                else:
                    found[child] = self._info(bucket, name, stored)
        if not found:
            raise FileNotFoundError(path)
        return [dict(one) for one in found.values()] if detail else [one["name"] for one in found.values()]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and time of a file."""
        bucket = self._strip_protocol(path).partition("/")[0]
        files, key = self._of(path)
        step(f"head {key}")
        if key in files:
            return self._info(bucket, key, files[key])
        if any(name.startswith(f"{key}/") for name in files):
            return {"name": f"{bucket}/{key}", "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def exists(self, path: str, **_: Any) -> bool:
        """Whether a file or folder exists."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        if mode != "rb":
            raise NotImplementedError(mode)
        return io.BytesIO(self.cat_file(path))

    @staticmethod
    def _info(bucket: str, name: str, stored: Stored) -> dict[str, Any]:
        return {
            "name": f"{bucket}/{name}",
            "size": len(stored.data),
            "type": "file",
            "LastModified": stored.written,
            "ETag": str(hash(stored.data)),
        }


class BucketPath(CloudPath):
    """A path in one of the buckets. Its target is remembered: to make a path costs more than to read its file."""

    __slots__ = ("_above", "_below", "_whole")
    _above: BucketPath
    _below: dict[str, BucketPath]
    _whole: str

    def __truediv__(self, name: str) -> BucketPath:  # type: ignore[override] # nobody here joins anything else
        """The contents of the folder."""
        try:
            below = self._below
        except AttributeError:
            below = self._below = {}
        found = below.get(name)
        if found is None:
            found = below[name] = super().__truediv__(name)
            if "/" not in name:
                found._above = self
        return found

    @property
    def parent(self) -> BucketPath:
        """The folder that contains it."""
        try:
            return self._above
        except AttributeError:
            return super().parent

    @property
    def path(self) -> str:
        """The bucket's name and the key."""
        try:
            return self._whole
        except AttributeError:
            self._whole = str(super().path)
            return self._whole

    def with_name(self, name: str) -> BucketPath:
        """The neighbour with that name."""
        return self.parent / name


register_implementation(PROTOCOL, BucketFileSystem, clobber=True)
register_path(PROTOCOL, BucketPath, clobber=True)


def bucket_path(bucket: str) -> UPath:
    """The root of a bucket."""
    return UPath(f"{PROTOCOL}://{bucket}/")


def contents(bucket: str) -> dict[str, Stored]:
    """Everything in a bucket, to restore it later."""
    return dict(_buckets[bucket])


def put_back(bucket: str, files: Mapping[str, Stored]) -> None:
    """Set a bucket's contents to exactly these files."""
    _buckets[bucket].clear()
    _buckets[bucket].update(files)
