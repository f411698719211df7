"""Parquet files as a target: their rows are read in the columns that are asked for, also those that became folders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.errors import ConfigError, RetryableError
from greennode_batch.write.partitions import partition_values


class ChangedError(RetryableError):
    """Another run has written one of the files again, or removed it, since this one read it. Nothing was changed."""


class ParquetFiles(ABC):
    """One file or many. name: what people call them. target_id: what tells them from other targets of the job."""

    name: str
    target_id: str

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Remove what is on local disk for their sake."""

    @abstractmethod
    def all_files(self) -> list[str]:
        """The paths of all files, whatever run wrote them, in one order."""

    @abstractmethod
    def is_own(self, path: str) -> bool:
        """Whether one of the files is the run's alone."""

    @abstractmethod
    def open(self, path: str) -> AbstractContextManager[pq.ParquetFile]:
        """One of the files, to be read."""

    @abstractmethod
    def version(self, path: str) -> tuple[object, ...]:
        """What differs once one of the files is written again. Raises ChangedError if it is not there any more."""

    def check_version(self, path: str, version: tuple[object, ...]) -> None:
        """Raise ChangedError if one of the files is another one by now: rows are known by their places in it."""
        if self.version(path) != version:
            raise self.changed(path)

    def changed(self, path: str) -> ChangedError:
        """The error to raise for a file that changes while it is used."""
        return ChangedError(
            f"{self.name}: {path} was written again or removed by another run while it was being read. Nothing was "
            "changed; try again"
        )

    def has_columns(self, path: str, names: Iterable[str]) -> bool:
        """Whether one of the files has these columns, or is in a folder that gives them.

        Raises ConfigError for one that is no Parquet file.
        """
        try:
            with self.open(path) as file:
                return {*file.schema_arrow.names, *_folder_values(path)}.issuperset(names)
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"{self.name}: {path} cannot be read as Parquet ({error}); restore it, or move it away. "
                "Nothing was sent"
            ) from None

    def read(self, path: str, names: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of one of the files in these columns, some thousand at a time.

        A column that became a folder is text; one that the file lacks is NULL, as in files of an earlier version.
        """
        values = _folder_values(path)
        with self.open(path) as file:
            there = [name for name in names if name in file.schema_arrow.names and name not in values]
            for batch in file.iter_batches(columns=there):
                yield _with_values(pa.table(batch), names, values)

    def take(self, path: str, indexes: npt.NDArray[np.int64], names: Sequence[str]) -> pa.Table:
        """Some rows of one of the files by their places, in this order. Reads the row groups that they lie in."""
        values = _folder_values(path)
        order = np.argsort(indexes, kind="stable")
        found, start, done = [], 0, 0
        with self.open(path) as file:
            there = [name for name in names if name in file.schema_arrow.names and name not in values]
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                end = int(np.searchsorted(indexes[order], stop))
                if end > done:
                    rows = file.read_row_group(group, columns=there, use_threads=False)
                    found.append(rows.take(pa.array(indexes[order[done:end]] - start)))
                start, done = stop, end
            rows = pa.concat_tables(found) if found else file.schema_arrow.empty_table().select(there)
        return _with_values(rows.take(pa.array(np.argsort(order))), names, values)


def _folder_values(path: str) -> dict[str, str | None]:
    folder = PurePosixPath(path).parent.as_posix()
    return partition_values("" if folder == "." else folder)


def _with_values(rows: pa.Table, names: Sequence[str], values: Mapping[str, str | None]) -> pa.Table:
    """The rows in these columns, of which folders give some; NULL for what neither has."""
    columns = [
        rows[name] if name in rows.column_names else pa.repeat(pa.scalar(values.get(name), pa.string()), rows.num_rows)
        for name in names
    ]
    return pa.table(columns, names=list(names))
