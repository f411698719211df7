"""Written files: what an answer file or a dataset holds of a run. Without an index, rows are found by scanning."""

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
    """Rows of files."""

    @abstractmethod
    def every(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows of all runs in these columns, some thousand at a time."""

    def find(self, keys: pa.Table) -> pa.Table:
        """The rows that have these keys; reads all of them."""
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
    """The rows of a run in an answer file; of all runs if none is named. A file that is not there has no rows."""

    def __init__(self, file: AnswerFile, run_id: str | None = None) -> None:
        self.name = f"file {file.name}"
        self.target_id = file.target_id
        self._file = file
        self._run_id = run_id

    def batches(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The run's rows, some thousand at a time."""
        if self._run_id is None:
            yield from self.every(schema)
            return
        run_id = pa.field("run_id", pa.string())
        for rows in self.every(schema if "run_id" in schema.names else schema.append(run_id)):
            yield rows.filter(pc.equal(rows["run_id"], self._run_id)).select(schema.names)

    def every(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The same of all runs."""
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
        """The rows of one file after the other; a column that became a folder is read from its name."""
        return self._rows_of(self._dataset.files(), schema)

    def every(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """The same of the files of all runs."""
        needed = [name for name in schema.names if name not in OPTIONAL]
        files = (path for path in self._dataset.all_files() if self._dataset.has_columns(path, needed))
        return self._rows_of(files, schema)

    def _rows_of(self, paths: Iterable[str], schema: pa.Schema) -> Iterator[pa.Table]:
        for path in paths:
            for rows in self._dataset.read(path, schema.names):
                arrays = [_as_kept(_told(rows[field.name], field.name), field.type) for field in schema]
                yield pa.table(arrays, names=schema.names)


def _told(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    # A key and a status are never NULL, so it was an empty text that became a folder.
    may_be_null = name in {"custom_id", *OPTIONAL} or not pa.types.is_string(column.type)
    return column if may_be_null else pc.fill_null(column, "")


def _as_kept(column: pa.ChunkedArray, kept: pa.DataType) -> pa.ChunkedArray:
    """The column as staging keeps it, of which a dataset writes some types as others, and CSV all as texts."""
    with suppress(pa.ArrowException):
        return column.cast(kept)
    return column


def _key_hashes(rows: pa.Table, key: Sequence[str]) -> list[int]:
    nothing = pa.nulls(rows.num_rows, pa.string())
    bare = rows.select(key).append_column("custom_id", nothing).append_column("status", nothing)
    return [int(one) for one in row_hashes(bare, key)]
