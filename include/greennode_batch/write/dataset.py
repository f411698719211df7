"""Dataset: a folder of Parquet files as a target, local or in an object store; one file per shard and partition."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import RunFolder, land, local_path, uncached, version_in
from greennode_batch.staging.stores import refusals
from greennode_batch.wording import given_by
from greennode_batch.write.dataset_files import PartFiles
from greennode_batch.write.dataset_schema import SCHEMA_FILE, declared_schema, with_schema
from greennode_batch.write.parquet_files import ChangedError, ParquetFiles
from greennode_batch.write.partitions import check_count, partitions

_ENDING = ".parquet"
_OPENED_AT_ONCE = 8


class Dataset(ParquetFiles):
    """A folder of Parquet files, as one run writes it. The names of files show which run wrote them.

    Every file lands whole; an unfinished file has a name that readers of datasets ignore.
    """

    def __init__(self, folder: UPath, run: RunFolder, *, partition_by: Sequence[str] = ()) -> None:
        self.name = self.target_id = str(folder)
        self.partition_by = tuple(partition_by)
        self._folder = folder
        self._local = local_path(folder)
        # With the DAG, because scheduled runs of two DAGs have the same ids.
        self._prefix = f"part-{_token(run.path.parent.name, run.name)}-"

    def prepare(self, schema: pa.Schema, *, create: bool = True) -> None:
        """Raise ConfigError if files cannot be written to the folder and deleted. create: if False, try no write."""
        missing = [name for name in self.partition_by if name not in schema.names]
        if missing:
            raise ConfigError(
                f"dataset {self.name}: {given_by('partition_by')} names {', '.join(missing)}, but the target "
                "has no such column"
            )
        if self._local is not None and self._local.exists() and not self._local.is_dir():
            raise ConfigError(
                f"dataset {self.name}: the path is a file, and a dataset needs a folder; name another path"
            )
        if self._local is None or self._local.exists():
            self._declared(schema)
        if not create:
            return
        trial = f".{self._prefix}trial"
        try:
            with refusals(self.name), self._work("trial") as work:
                (made := work / "trial").write_bytes(b"")
                land(made, self._at(trial), private=False)
                self.remove(trial)
        except (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise ConfigError(
                f"dataset {self.name}: the folder cannot be written ({error}). Nothing was sent. Use a folder in which "
                "all workers may write and delete files"
            ) from error

    def write(self, rows: Iterable[pa.Table], shard_id: str, *, replaces: Collection[str] = ()) -> tuple[str, ...]:
        """Write a shard's rows and return the paths of its files below the folder. Holds some of the rows.

        rows: iterated once per 200 partitions. replaces: the files that the shard wrote before; those that it does not
        write again are removed. Raises ConfigError if the shard has too many partitions.
        """
        assert not isinstance(rows, Iterator), "rows are iterated several times, so they must not be an iterator"
        schema: pa.Schema | None = None

        def conformed() -> Iterator[pa.Table]:
            nonlocal schema
            for some in rows:
                if schema is None:
                    schema = self._declared(some.schema)
                    self._declare(schema)
                by = [some.schema.field(column) for column in self.partition_by]
                own = with_schema(some, schema, self.name)
                yield pa.table(
                    [*own.columns, *some.select(self.partition_by).columns], schema=pa.schema([*schema, *by])
                )

        name = f"{self._prefix}{shard_id}{_ENDING}"
        written: dict[str, str] = {}
        with self._work(shard_id) as work:
            is_done = False
            while not is_done:
                made, is_done = self._write_some(conformed(), work, done=written)
                for folder, file in made.items():
                    written[folder] = f"{folder}/{name}" if folder else name
                    land(file, self._at(written[folder]), private=False)
        for path in sorted(set(replaces) - set(written.values())):
            self.remove(path)
        return tuple(written.values())

    def files(self) -> list[str]:
        """The paths of the run's files below the folder, sorted, as they are now."""
        return sorted(filter(self.is_own, self._paths()))

    def all_files(self) -> list[str]:
        """The paths of all runs' files below the folder, sorted: the files that readers of datasets see."""
        return sorted(path for path in self._paths() if path.endswith(_ENDING) and not _is_hidden(path))

    def is_own(self, path: str) -> bool:
        """Whether this run wrote the file."""
        return PurePosixPath(path).name.startswith(self._prefix)

    def rewrite(self, path: str, *, without: Collection[int], version: tuple[object, ...]) -> None:
        """Write a file again without some rows, or remove it if no row is left.

        without: the indexes of these rows. version: the file's version when the indexes were found. Raises ChangedError
        if the file has changed since.
        """
        gone = np.asarray(sorted(without), np.int64)
        with self._work("rewrite") as work:
            made, start, kept = work / "rewritten", 0, 0
            with self.open(path) as file, pq.ParquetWriter(made, file.schema_arrow, compression="zstd") as writer:
                for batch in file.iter_batches():
                    stays = np.ones(batch.num_rows, np.bool_)
                    begin, end = np.searchsorted(gone, [start, start + batch.num_rows])
                    stays[gone[begin:end] - start] = False
                    start += batch.num_rows
                    if stays.any():
                        writer.write_batch(batch.filter(pa.array(stays)))
                        kept += int(stays.sum())
            # The new file was read before this check, so the right rows are gone from it.
            self.check_version(path, version)
            if kept:
                land(made, self._at(path), private=False)
        if not kept:
            self.remove(path)

    def shard_of(self, path: str) -> str:
        """The id of the shard that a file of this run belongs to."""
        return PurePosixPath(path).name.removeprefix(self._prefix).removesuffix(_ENDING)

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        index = self._at(path)
        local = local_path(index)
        if local is not None:
            local.unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            index.fs.rm_file(index.path)

    @contextmanager
    def open(self, path: str) -> Iterator[pq.ParquetFile]:
        """Open a file for reading. Raises ChangedError if it does not exist any more."""
        index = self._at(path)
        local = local_path(index)
        try:
            opened = local.open("rb") if local else index.fs.open(index.path, "rb")
        except FileNotFoundError:
            raise self.changed(path) from None
        with opened as file:
            yield pq.ParquetFile(file)

    def version(self, path: str) -> tuple[object, ...]:
        """The version of a file: inode or ETag, time and size."""
        index = self._at(path)
        local = local_path(index)
        try:
            if local is not None:
                found = local.stat()
                return found.st_ino, found.st_mtime_ns, found.st_size
            told = uncached(index).fs.info(index.path)
        except FileNotFoundError:
            raise self.changed(path) from None
        return version_in(told)

    def _write_some(
        self, rows: Iterable[pa.Table], work: Path, *, done: Collection[str]
    ) -> tuple[dict[str, Path], bool]:
        """Write the files of some remaining partitions. Returns them by folder, and whether none remain."""
        seen: set[str] = set()

        def is_wanted(folder: str) -> bool:
            seen.add(folder)
            return folder not in done and files.opens(folder)

        with PartFiles(work, holds=bool(self.partition_by)) as files:
            for some in rows:
                for folder, part in partitions(some, self.partition_by, is_wanted):
                    files.add(folder, part)
                check_count(len(seen), self.partition_by)
        return files.made, len(seen) == len(done) + len(files.made)

    def _declared(self, rows: pa.Schema) -> pa.Schema:
        """The schema of all files, for rows with these columns. Raises ConfigError for a column that does not fit."""
        schemas: list[pa.Schema] = []
        try:
            with self.open(SCHEMA_FILE) as file:
                schemas.append(file.schema_arrow)
        except ChangedError:  # a new dataset, or one of a version that kept no schema
            with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
                schemas += pool.map(self._schema_of, self.all_files())
        return declared_schema(schemas, rows, but=self.partition_by, name=self.name)

    def _schema_of(self, path: str) -> pa.Schema:
        with self.open(path) as file:
            return file.schema_arrow

    def _declare(self, schema: pa.Schema) -> None:
        """Keep the schema beside the files, unless it is the one that is kept."""
        with suppress(ChangedError):
            if self._schema_of(SCHEMA_FILE).equals(schema, check_metadata=True):
                return
        with self._work("schema") as work:
            pq.write_metadata(schema, made := work / "schema")
            land(made, self._at(SCHEMA_FILE), private=False)

    def _paths(self) -> Iterator[str]:
        if self._local is None:
            folder = uncached(self._folder)
            root = folder.path.rstrip("/") + "/"
            with suppress(FileNotFoundError):
                for path in folder.fs.find(root):
                    yield path.removeprefix(root)
            return
        for parent, folders, names in os.walk(self._local):
            folders[:] = [name for name in folders if not name.startswith((".", "_"))]
            for name in names:
                yield (Path(parent) / name).relative_to(self._local).as_posix()

    def _at(self, path: str) -> UPath:
        return self._folder / path

    @contextmanager
    def _work(self, shard_id: str) -> Iterator[Path]:
        """Make a work folder: beside a local dataset, so that files land by a rename, else in the temporary folder.

        Raises ChangedError if another worker starts to make the same files.
        """
        prefix = f".{self._prefix}{shard_id}-"
        if self._local is not None:
            self._local.mkdir(parents=True, exist_ok=True)
            for left in self._local.glob(f"{prefix}*"):  # of a worker that was killed
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self._local) as work:
            try:
                yield Path(work)
            except FileNotFoundError:
                if Path(work).exists():
                    raise
                raise ChangedError(
                    f"{self.name}: another worker of this run has started to write the same files, as if this "
                    "one were dead. This worker changed nothing; run this step again"
                ) from None


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(path).parts)


def _token(*names: str) -> str:
    return hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()
