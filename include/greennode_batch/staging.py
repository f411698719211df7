"""Staging: one folder a run, on local disk or an object store; every file lands whole or not at all.

    <root>/<dag_id>/<run>/plan.json
                         /shards/<shard_id>/requests.jsonl  source.parquet  receipt.json  creating.<n>.json
                                           output.jsonl  errors.jsonl  results.parquet  joined.json
                         /canary.json  report.json

Paths are UPath objects (Airflow's ObjectStoragePath is one), so `file://` and `s3://` work alike. Files are
made on local disk first: a rename on the same disk, or one completed put, then makes them visible.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from upath import UPath

from greennode_batch.errors import ConfigError

T = TypeVar("T")

_WORK_PREFIX = ".work-"
_HASHED_NAME = re.compile(r".*-[0-9a-f]{12}")


class ShardFolder:
    """The files of one shard, by name."""

    def __init__(self, path: UPath) -> None:
        self.path = path
        self.requests = path / "requests.jsonl"
        self.source = path / "source.parquet"
        self.receipt = path / "receipt.json"
        self.output = path / "output.jsonl"
        self.errors = path / "errors.jsonl"
        self.results = path / "results.parquet"
        self.joined = path / "joined.json"

    @property
    def shard_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def run(self) -> RunFolder:
        """The run that the shard belongs to."""
        return RunFolder(self.path.parent.parent)

    def claim(self, number: int) -> UPath:
        """The note that the shard's batch is being created for the n-th time."""
        return self.path / f"creating.{number}.json"

    def __str__(self) -> str:
        return str(self.path)


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: UPath) -> None:
        self.path = path
        self.plan = path / "plan.json"
        self.canary = path / "canary.json"
        self.report = path / "report.json"
        self.shards = path / "shards"

    def shard(self, shard_id: str) -> ShardFolder:
        """The folder of one shard."""
        return ShardFolder(self.shards / shard_id)

    def __str__(self) -> str:
        return str(self.path)


def run_folder(root: UPath | Path | str, dag_id: str, run_id: str) -> RunFolder:
    """Where a run's files lie. Ids become safe folder names; different ids never share a folder."""
    return RunFolder(UPath(root) / safe_name(dag_id) / safe_name(run_id))


def safe_name(text: str) -> str:
    """A folder name for any id. Whatever had to be changed is told apart by a hash of the original."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip(".")[:100]
    if slug == text and slug and not _HASHED_NAME.fullmatch(slug):
        return slug
    return f"{slug}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def local_path(path: UPath | Path) -> Path | None:
    """The path as one of this machine's disk, or None if it lies in an object store."""
    if isinstance(path, Path):
        return path
    return Path(path.path) if path.protocol in {"", "file", "local"} else None


def work_folder(near: UPath | Path) -> tempfile.TemporaryDirectory[str]:
    """A folder on local disk to make files in; beside `near` where that is local, so that they land by rename."""
    local = local_path(near)
    if local is None:
        return tempfile.TemporaryDirectory(prefix="greennode-")
    local.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=local)


def remove_work_folders(near: UPath | Path) -> None:
    """Remove the work folders beside `near` that a killed process left; call it when their work is done or void."""
    local = local_path(near)
    for left in local.glob(f"{_WORK_PREFIX}*") if local is not None else ():
        shutil.rmtree(left, ignore_errors=True)


def land(made: Path, path: UPath) -> None:
    """Move a finished local file to its place in staging, whole."""
    local = local_path(path)
    if local is None:
        path.fs.put_file(str(made), path.path)
        made.unlink()
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    # What is uploaded and paid for must not turn out empty after a power cut.
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(local)


@contextmanager
def local_copy(path: UPath) -> Iterator[Path]:
    """A staging file as one on local disk: itself, or a temporary copy."""
    local = local_path(path)
    if local is not None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="greennode-") as folder:
        copy = Path(folder) / path.name
        path.fs.get_file(path.path, str(copy))
        yield copy


def write_json(path: UPath, value: Any) -> None:
    """Write a value as JSON; readers see the old file or the new one, never a part."""
    data = _readable(value)
    local = local_path(path)
    if local is None:
        path.write_bytes(data)
        return
    with _written_beside(local, data) as beside:
        beside.replace(local)


def read_json(path: UPath, as_type: type[T]) -> T | None:
    """The value in a JSON file, or None if there is no such file. Raises ConfigError for one that cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=as_type)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: is not as this version writes it ({error}); mend or restore the file") from None


def create_exclusive(path: UPath, value: Any) -> bool:
    """Write a small JSON file only if nobody has; whether this call was the one that did."""
    data = _readable(value)
    local = local_path(path)
    if local is None:
        try:
            path.fs.pipe_file(path.path, data, mode="create")
        except FileExistsError:
            return False
        return True
    with _written_beside(local, data) as beside:
        try:
            # A hard link to a whole file is exclusive and atomic; O_EXCL alone would show an empty file.
            local.hardlink_to(beside)
        except FileExistsError:
            return False
    return True


def _readable(value: Any) -> bytes:
    """JSON as people read it, and at times mend it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


@contextmanager
def _written_beside(local: Path, data: bytes) -> Iterator[Path]:
    """The data in a whole file beside its place, removed at the end if it is still there."""
    local.parent.mkdir(parents=True, exist_ok=True)
    beside = local.with_name(f".{local.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def remove_tree(path: UPath) -> None:
    """Remove a folder of staging and all below it, if it is there."""
    if path.exists():
        path.fs.rm(path.path, recursive=True)
