"""Written files: the rows of a run in an answer file or a dataset. Lookups scan the files, as there is no index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.tables.fingerprint import row_hashes
from greennode_batch.tables.typed_rows import OPTIONAL, found_schema
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.dataset import Dataset


class _ScannedRows(ABC):
    """Rows in files."""

    @abstractmethod
    def every(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows of all runs in these columns, a few thousand at a time."""

    def find(self, keys: pa.Table) -> pa.Table:
        """Look up the rows with these keys, by reading all rows."""
        schema = found_schema(keys.schema)
        indexes = {one: index for index, one in enumerate(_key_hashes(keys, keys.column_names))}
        found = []
        for rows in self.every(pa.schema(list(schema)[1:])):
            hashes = _key_hashes(rows, keys.column_names)
            taken = [number for number, one in enumerate(hashes) if one in indexes]
            column = pa.array([indexes[hashes[number]] for number in taken], pa.int64())
            found.append(rows.take(pa.array(taken, pa.int64())).add_column(0, "index", column))
        return pa.concat_tables(found) if found else schema.empty_table()


class FileRows(_ScannedRows):
    """The rows of a run in an answer file, or of all runs without a run_id. A missing file has no rows."""

    def __init__(self, file: AnswerFile, run_id: str | None = None) -> None:
        self.name = f"file {file.name}"
        self.target_id = file.target_id
        self._file = file
        self._run_id = run_id

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the run's rows, a few thousand at a time."""
        if self._run_id is None:
            yield from self.every(schema)
            return
        run_id = pa.field("run_id", pa.string())
        for rows in self.every(schema if "run_id" in schema.names else schema.append(run_id)):
            yield rows.filter(pc.equal(rows["run_id"], self._run_id)).select(schema.names)

    def every(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows of all runs in these columns, a few thousand at a time."""
        for path in self._file.all_files():
            for rows in self._file.read(path, schema.names):
                yield pa.table([_as_kept(rows[field.name], field.type) for field in schema], names=schema.names)


class DatasetRows(_ScannedRows):
    """The rows of a run in a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self.name = f"dataset {dataset.name}"
        self.target_id = dataset.target_id
        self._dataset = dataset

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the run's rows, file by file. Columns that became partition folders are read from their names."""
        return self._rows_of(self._dataset.files(), schema)

    def every(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows of all runs, file by file."""
        needed = [name for name in schema.names if name not in OPTIONAL]
        files = (path for path in self._dataset.all_files() if self._dataset.has_columns(path, needed))
        return self._rows_of(files, schema)

    def _rows_of(self, paths: Iterable[str], schema: pa.Schema) -> Iterator[pa.Table]:
        for path in paths:
            for rows in self._dataset.read(path, schema.names):
                arrays = [_as_kept(_told(rows[field.name], field.name), field.type) for field in schema]
                yield pa.table(arrays, names=schema.names)


def _told(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    # Keys and statuses are never NULL, so a folder for NULL stands for an empty text.
    may_be_null = name in {"custom_id", *OPTIONAL} or not pa.types.is_string(column.type)
    return column if may_be_null else pc.fill_null(column, "")


def _as_kept(column: pa.ChunkedArray, kept: pa.DataType) -> pa.ChunkedArray:
    """Convert a column back to its type in staging: a dataset changes some types, and CSV has texts alone."""
    with suppress(pa.ArrowException):
        return column.cast(kept)
    return column


def _key_hashes(rows: pa.Table, key: Sequence[str]) -> list[int]:
    nothing = pa.nulls(rows.num_rows, pa.string())
    bare = rows.select(key).append_column("custom_id", nothing).append_column("status", nothing)
    return [int(one) for one in row_hashes(bare, key)]
