"""ParquetFiles: Parquet files as a target. Reads chosen columns, including those that became partition folders."""

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
    """Another run has rewritten or removed a file since this one read it. Nothing was changed."""


class ParquetFiles(ABC):
    """One Parquet file or many."""

    name: str
    """The name in messages."""
    target_id: str
    """Identifies the target among the targets of the job."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Remove what is on local disk for their sake."""

    @abstractmethod
    def all_files(self) -> list[str]:
        """The paths of all files, whichever run wrote them, in a stable order."""

    @abstractmethod
    def is_own(self, path: str) -> bool:
        """Whether a file belongs to this run alone."""

    @abstractmethod
    def open(self, path: str) -> AbstractContextManager[pq.ParquetFile]:
        """Open a file for reading."""

    @abstractmethod
    def version(self, path: str) -> tuple[object, ...]:
        """A value that changes whenever a file is rewritten. Raises ChangedError if the file no longer exists."""

    def check_version(self, path: str, version: tuple[object, ...]) -> None:
        """Raise ChangedError if a file has changed, because then the indexes of its rows are wrong."""
        if self.version(path) != version:
            raise self.changed(path)

    def changed(self, path: str) -> ChangedError:
        """Make the error for a file that changed while it was read."""
        return ChangedError(
            f"{self.name}: another run rewrote or removed {path} while it was being read. Nothing was changed; run "
            "this step again"
        )

    def has_columns(self, path: str, names: Iterable[str]) -> bool:
        """Whether a file has these columns, itself or through its partition folders.

        Raises ConfigError if it is not a Parquet file.
        """
        try:
            with self.open(path) as file:
                return {*file.schema_arrow.names, *_folder_values(path)}.issuperset(names)
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"{self.name}: {path} cannot be read as Parquet ({error}). Nothing was sent. Restore the file, or "
                "move it away"
            ) from None

    def read(self, path: str, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows of a file in these columns, in batches.

        A column that became a partition folder is text. A column that the file lacks, as files of an earlier version
        do, is NULL.
        """
        values = _folder_values(path)
        with self.open(path) as file:
            there = [name for name in names if name in file.schema_arrow.names and name not in values]
            for batch in file.iter_batches(columns=there):
                yield _with_values(pa.table(batch), names, values)

    def take(self, path: str, indexes: npt.NDArray[np.int64], names: Sequence[str]) -> pa.Table:
        """Read the rows at these indexes of a file, in this order. Reads only the row groups that contain them."""
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
    """The rows in these columns, with values from folders; NULL for columns that neither has."""
    columns = [
        rows[name] if name in rows.column_names else pa.repeat(pa.scalar(values.get(name), pa.string()), rows.num_rows)
        for name in names
    ]
    return pa.table(columns, names=list(names))
