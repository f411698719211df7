"""Staging: one folder per run, on local disk or in an object store. Every file lands whole or not at all.

    <root>/<dag_id>[+<group>]/<run>/plan.<n>.json
                         /shards/<shard_id>/requests.jsonl  source.<n>.parquet  uploading.json
                                           receipt.<n>.json  creating.<n>.json  released.<n>.json  output.jsonl
                                           errors.jsonl  results.parquet  anomalies.jsonl  joined.json  cleaned.json
                                           copied.parquet: in place of results, for copied answers
                                           refused.parquet: answers that a target refused
                                           split.json: in place of a batch; its halves are shards beside it
                         /splits/<shard_id>.json: the shards that may have a split.json
                         /parts/<number>-of-<count>/<job>-<files>.arrows
                         /attempt_2/retry.<n>.json  building.<n>.json
                                   /shards/<shard_id>/…  splits/…: as above, without source and joined
                         /run.json  building.<n>.json  canary.json  approval.json  spend.json  no_credit.json
                         /report.json  removed.json
                         /answered.<n>.json  unchanged.<n>.bin: from build to report, for .answered-…
                  /<run>~<hash>/: the same run, deleted in Airflow and made again; run.json of the first folder names it
                  /.answered-<hash>: the answer cache of a table; see incremental/answer_cache.py
                  /.usage.json: what earlier runs used; see cost/usage_history.py
    <root>/.identity.json: the identity of the staging area; see state/staging_identity.py
    <root>/.line/<connection>/: the submit queue of a connection; see batches/throttle/queue_folder.py
                             /limit-<model>.json: how much it takes in one batch; see state/enqueued_limit.py

Paths are UPath objects (Airflow's ObjectStoragePath is one), so `file://`, `s3://`, `gs://` and `abfs://` work
alike. Files are made on local disk first. A rename on the same disk, or one completed put, then makes them visible.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.modes import file_mode, folder_mode, make_folder

T = TypeVar("T")

_WORK_PREFIX = ".work-"
_WORK_OF_TURN = re.compile(r"\.work-([0-9]+)-")
_SOURCE = "source.parquet"
_READ_TRIES = 5
# Of local disk and Google's store, of S3, of Azure.
_TIMES = ("mtime", "LastModified", "last_modified")
# Never part of a safe name.
_AGAIN = "~"
ATTEMPT_NAME = re.compile(r"attempt_([0-9]+)")
_HASHED_NAME = re.compile(r".*-[0-9a-f]{12}")


class _Below:
    """A path below a folder, made when it is first asked for: a path costs as much as a small file operation."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __set_name__(self, _owner: type, attribute: str) -> None:
        self._attribute = attribute

    def __get__(self, folder: ShardFolder | RunFolder, _owner: type) -> UPath:
        made: UPath = folder.path / self._name
        # An attribute of the instance comes before this one from now on.
        vars(folder)[self._attribute] = made
        return made


class ShardFolder:
    """The files of one shard, by name."""

    requests = _Below("requests.jsonl")
    uploading = _Below("uploading.json")
    receipt = _Below("receipt.json")
    output = _Below("output.jsonl")
    errors = _Below("errors.jsonl")
    results = _Below("results.parquet")
    copied = _Below("copied.parquet")
    refused = _Below("refused.parquet")
    anomalies = _Below("anomalies.jsonl")
    joined = _Below("joined.json")
    cleaned = _Below("cleaned.json")
    split = _Below("split.json")

    def __init__(self, path: UPath) -> None:
        self.path = uncached(path)

    @property
    def source(self) -> UPath:
        """The shard's source rows, from the latest finished build of its run."""
        names = fresh_names(self.path)
        turns = [*numbered(names, "source", "parquet"), *([0] if _SOURCE in names else [])]
        if len(turns) > 1:
            finished = max(numbered(fresh_names(self.run.path), "plan"), default=0)
            turns = [turn for turn in turns if turn <= finished] or turns
        return self.source_of(max(turns, default=0))

    def source_of(self, turn: int) -> UPath:
        """The shard's source rows of a build's turn. Turn 0 is a build of the version before."""
        return self.path / (f"source.{turn}.parquet" if turn else _SOURCE)

    @property
    def shard_id(self) -> str:
        """The shard's id, which is the folder's name."""
        return self.path.name

    @property
    def attempt(self) -> int:
        """The number of the shard's attempt."""
        later = ATTEMPT_NAME.fullmatch(self.path.parent.parent.name)
        return int(later[1]) if later else 1

    @property
    def run(self) -> RunFolder:
        """The folder of the shard's run."""
        folder = self.path.parent.parent
        return RunFolder(folder.parent if ATTEMPT_NAME.fullmatch(folder.name) else folder)

    def claim(self, number: int) -> UPath:
        """The n-th claim to create the shard's batch."""
        return self.path / f"creating.{number}.json"

    def __str__(self) -> str:
        return str(self.path)


class RunFolder:
    """The files of one run, by name."""

    canary = _Below("canary.json")
    approval = _Below("approval.json")
    report = _Below("report.json")
    costs = _Below("spend.json")
    removed = _Below("removed.json")
    shards = _Below("shards")
    parts = _Below("parts")

    def __init__(self, path: UPath, *, turn: int | None = None) -> None:
        """turn: the turn of the build whose files are meant; the default is the latest finished build."""
        self.path = uncached(path)
        self._turn = turn

    @property
    def plan(self) -> UPath:
        """The plan of the build."""
        return self._of_turn("plan")

    @property
    def answered(self) -> UPath:
        """The record of the table rows that the build left as they are."""
        return self._of_turn("answered")

    @property
    def unchanged(self) -> UPath:
        """The hashes of these rows."""
        return self._of_turn("unchanged", "bin")

    def of_turn(self, turn: int) -> RunFolder:
        """The same run, with the files of one build."""
        return RunFolder(self.path, turn=turn)

    def _of_turn(self, stem: str, suffix: str = "json") -> UPath:
        turn = self._turn
        if turn is None:
            turn = max(numbered(fresh_names(self.path), "plan"), default=0)
        return self.path / (f"{stem}.{turn}.{suffix}" if turn else f"{stem}.{suffix}")

    @property
    def name(self) -> str:
        """The folder's name without the suffix of a run that was made again."""
        return self.path.name.partition(_AGAIN)[0]

    def made_again(self, token: str) -> RunFolder:
        """A folder beside this one, for a new run with the same id."""
        return RunFolder(self.path.parent / f"{self.name}{_AGAIN}{token}")

    def shard(self, shard_id: str, *, attempt: int = 1) -> ShardFolder:
        """The folder of a shard. Attempts have separate folders, because a later one may send the same bytes."""
        return ShardFolder((self.shards if attempt == 1 else self.attempt(attempt) / "shards") / shard_id)

    def retry(self, attempt: int) -> UPath:
        """The plan of a later attempt, from its latest finished build."""
        folder = self.attempt(attempt)
        names = numbered(fresh_names(folder), "retry")
        return folder / (names[max(names)] if names else "retry.json")

    def attempt(self, attempt: int) -> UPath:
        """The folder of a later attempt."""
        return self.path / f"attempt_{attempt}"

    def splits(self, attempt: int) -> UPath:
        """The folder that names the shards of an attempt that may be split."""
        return (self.path if attempt == 1 else self.attempt(attempt)) / "splits"

    def part(self, number: int, total: int) -> UPath:
        """The folder of one partition of the source. total: how many partitions there are."""
        return self.parts / f"{number}-of-{total}"

    def __str__(self) -> str:
        return str(self.path)


def run_folder(root: UPath | Path | str, dag_id: str, run_id: str, *, group: str | None = None) -> RunFolder:
    """The folder of a run. Ids become safe folder names, and different ids never share a folder.

    group: separates several pipelines of one DAG. It follows a plus sign, which no safe name contains.
    """
    # Keep Airflow's own path objects: UPath() would lose their connection.
    base = root if isinstance(root, UPath) else UPath(root)
    name = safe_name(dag_id) if group is None else f"{safe_name(dag_id)}+{safe_name(group)}"
    return RunFolder(base / name / safe_name(run_id))


def safe_name(text: str) -> str:
    """A safe folder name for any id. If the id has to change, a hash of the original keeps the name unique."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip(".")[:100]
    if slug == text and slug and not _HASHED_NAME.fullmatch(slug):
        return slug
    return f"{slug}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def local_path(path: UPath | Path) -> Path | None:
    """The path on the local disk, or None if it is in an object store."""
    if isinstance(path, Path):
        return path
    return Path(path.path) if path.protocol in {"", "file", "local"} else None


def uncached(path: UPath) -> UPath:
    """The path, with the listing cache of its object store turned off.

    They cache listings, and would report that a file does not exist if another worker has written it since.
    """
    if local_path(path) is None:
        # Airflow's paths wrap another path, which has a separate file system if there is no connection.
        for fs in (path.fs, getattr(path, "__wrapped__", path).fs):
            fs.dircache.use_listings_cache = False
            fs.dircache.clear()
    return path


def fresh_names(folder: UPath) -> list[str]:
    """The current names in a folder; empty if the folder does not exist."""
    local = local_path(folder)
    try:
        if local is not None:
            return [path.name for path in local.iterdir()]
        return [name.rpartition("/")[2] for name in uncached(folder).fs.ls(folder.path, detail=False)]
    except FileNotFoundError:
        return []


def numbered(names: Iterable[str], stem: str, suffix: str = "json") -> dict[int, str]:
    """The names of the form `<stem>.<n>.<suffix>`, by their number."""
    found = re.compile(rf"{stem}\.(\d+)\.{suffix}")
    return {int(match[1]): name for name in names if (match := found.fullmatch(name))}


def fresh_times(folder: UPath) -> dict[str, float]:
    """The current files in a folder, by name, with the time of each by the clock of the disk or store."""
    local = local_path(folder)
    try:
        if local is not None:
            return {entry.name: _local_time(entry) for entry in os.scandir(local)}
        entries = uncached(folder).fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rpartition("/")[2]: written_at(entry) for entry in entries}


def written_at(info: Mapping[str, Any]) -> float:
    """The time of a file, by the name that its file system has for it. An unknown time is never old."""
    when = next((info[name] for name in _TIMES if info.get(name) is not None), math.inf)
    return when.timestamp() if isinstance(when, datetime) else float(when)


def version_in(info: Mapping[str, Any]) -> tuple[object, ...]:
    """What distinguishes one version of a stored file from another: ETag, time and size."""
    return info.get("ETag") or info.get("etag"), written_at(info), info.get("size")


def _local_time(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # removed after it was listed


def work_folder(near: UPath | Path, *, turn: int | None = None) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on local disk to make files in. If `near` is local, it is beside it, so files land by rename.

    turn: the turn of the build that uses it, so that only later builds may remove it.
    """
    local = local_path(near)
    if local is None:
        return tempfile.TemporaryDirectory(prefix="greennode-")
    make_folder(local)
    work = tempfile.TemporaryDirectory(prefix=_WORK_PREFIX if turn is None else f"{_WORK_PREFIX}{turn}-", dir=local)
    # So that another worker can remove what a killed process leaves.
    Path(work.name).chmod(folder_mode())
    return work


def remove_work_folders(near: UPath | Path, *, before: int | None = None) -> None:
    """Remove work folders beside `near` that killed processes left. Call it when nobody needs their work any more.

    before: remove only the folders of builds with a lower turn, which do not count any more even if they still run.
    """
    local = local_path(near)
    for left in local.glob(f"{_WORK_PREFIX}*") if local is not None else ():
        turn = _WORK_OF_TURN.match(left.name)
        if before is None or (turn and int(turn[1]) < before):
            shutil.rmtree(left, ignore_errors=True)


def land(made: Path, path: UPath, *, private: bool = True) -> None:
    """Move a finished local file to its place. private: False for files outside staging, such as datasets."""
    local = local_path(path)
    if local is None:
        path.fs.put_file(str(made), path.path)
        made.unlink()
        return
    if private:
        make_folder(local.parent)
        made.chmod(file_mode())
    else:
        local.parent.mkdir(parents=True, exist_ok=True)
    # A file that is uploaded and paid for must not be empty after a power cut.
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(local)


def copy_file(path: UPath, to: UPath) -> None:
    """Copy a staging file that never changes, by a hard link if possible."""
    local, target = local_path(path), local_path(to)
    if local is None or target is None:
        path.fs.cp_file(path.path, to.path)
        return
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=target.parent) as work:
        made = Path(work) / target.name
        try:
            made.hardlink_to(local)
        except OSError:
            shutil.copyfile(local, made)
        made.replace(target)


@contextmanager
def local_copy(path: UPath) -> Iterator[Path]:
    """Yield a staging file on local disk: the file itself, or a temporary copy."""
    local = local_path(path)
    if local is not None:
        yield local
        return
    with tempfile.TemporaryDirectory(prefix="greennode-") as folder:
        copy = Path(folder) / path.name
        path.fs.get_file(path.path, str(copy))
        yield copy


def write_json(path: UPath, value: Any) -> None:
    """Write a value as JSON. Readers see the old file or the new one, never a part."""
    write_whole(path, readable_json(value))


def write_whole(path: UPath, data: bytes) -> None:
    """Write bytes whole. Uses no work folder, which a clean-up could remove."""
    local = local_path(path)
    if local is None:
        path.fs.pipe_file(path.path, data)
        return
    with written_beside(local, data) as beside:
        beside.replace(local)


def read_json(path: UPath, as_type: type[T]) -> T | None:
    """Read a JSON file, or return None if it does not exist. Raises ConfigError if it cannot be read."""
    try:
        data = _read(path)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=as_type)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {_refusal(data, as_type, error)}") from None


class _Format(msgspec.Struct):
    format: int = 1


def _refusal(data: bytes, as_type: Any, error: msgspec.DecodeError) -> str:
    """Explain why a document cannot be read, and what to do."""
    known = getattr(as_type, "__struct_config__", None)
    with suppress(msgspec.DecodeError):
        found = msgspec.json.decode(data, type=_Format).format
        if known is not None and known.tag is not None and found != known.tag:
            age = "a newer" if found > known.tag else "an older"
            return (
                f"has format {found}, but this version reads format {known.tag}: {age} version wrote it. Let that "
                "version finish the run, or start a new run"
            )
    return f"does not have the expected content ({error}); fix or restore the file"


def _read(path: UPath) -> bytes:
    if local_path(path) is not None:
        return path.read_bytes()
    if not path.protocol.startswith("s3"):
        return bytes(path.fs.cat_file(path.path))
    from botocore.exceptions import FlexibleChecksumError  # noqa: PLC0415 - other staging needs no S3

    # In one request, so that a file that is replaced meanwhile is read whole, either the old one or the new one.
    # A store that keeps checksums apart from its files (rclone) may send the checksum of one with the other.
    for _ in range(_READ_TRIES - 1):
        with suppress(FlexibleChecksumError):
            return bytes(path.fs.cat_file(path.path, max_concurrency=1))
    return bytes(path.fs.cat_file(path.path, max_concurrency=1))


def readable_json(value: Any) -> bytes:
    """Encode a value as indented JSON, which people can read and edit."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


@contextmanager
def written_beside(local: Path, data: bytes) -> Iterator[Path]:
    """Write the data to a temporary file beside its final place. Removes it at the end if it is still there."""
    make_folder(local.parent)
    beside = local.with_name(f".{local.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file_mode())
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def remove_tree(path: UPath) -> None:
    """Remove a staging folder with all its contents, if it exists."""
    if path.exists():
        path.fs.rm(path.path, recursive=True)
