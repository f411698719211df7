"""AnswerFile: one Parquet file on local disk as a target. It has each row once, whichever run wrote it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.errors import ConfigError
from greennode_batch.write.answer_index import AnswerIndex
from greennode_batch.write.file_lookup import NEEDED, indexed_rows
from greennode_batch.write.parquet_files import ParquetFiles


class AnswerFile(ParquetFiles):
    """A Parquet file, which may not exist yet. A file without answers under the job's key is replaced."""

    def __init__(self, path: Path) -> None:
        self.name = self.target_id = str(path)
        self.path = path

    def all_files(self) -> list[str]:
        """The file's path if it is a Parquet file; empty if it does not exist or is no Parquet file."""
        try:
            pq.read_metadata(self.path)
        except (FileNotFoundError, pa.ArrowInvalid):
            return []
        return [self.name]

    def is_own(self, path: str) -> bool:
        """False: the file never belongs to one run alone."""
        return False

    @contextmanager
    def open(self, path: str) -> Iterator[pq.ParquetFile]:
        """Open the file, or a file that will replace it."""
        with pq.ParquetFile(path) as file:
            yield file

    def version(self, path: str) -> tuple[object, ...]:
        """The version of the file: inode, time and size."""
        try:
            found = Path(path).stat()
        except FileNotFoundError:
            raise self.changed(path) from None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def check(self, schema: pa.Schema, key: Sequence[str]) -> None:
        """Raise ConfigError if the file cannot hold rows with these columns beside its own."""
        if self._has_answers(key):
            self._merged_schema(schema)

    def merge(self, made: Path, key: pa.Schema, *, run_id: str) -> None:
        """Replace the file by a run's file, merged with the rows of other runs that the run does not replace.

        made: the file with all rows of the run. key: the target's key, with the types of the source. The file lands
        whole; a second call makes the same file.
        """
        if not self._has_answers(key.names):
            self._land(made)
            return
        files = [self.name, str(made)]
        with tempfile.TemporaryDirectory(prefix="greennode-") as work, closing(AnswerIndex(Path(work), key)) as index:
            for number, path in enumerate(files):
                for indexes, rows in indexed_rows(self, path, key.names):
                    if path == self.name:
                        is_own = pc.fill_null(pc.equal(rows["run_id"].cast(pa.string()), run_id), fill_value=False)
                        others = pa.array(np.flatnonzero(~is_own.to_numpy()))
                        indexes, rows = indexes.take(others), rows.take(others)  # noqa: PLW2901
                    index.add(number, indexes, rows)
            index.settle()
            merged = made.with_name(f"{made.name}.merged")
            try:
                self._write(merged, files, index, self._merged_schema(pq.read_schema(made)))
                self._land(merged)
            finally:
                merged.unlink(missing_ok=True)
                made.unlink(missing_ok=True)

    def _land(self, made: Path) -> None:
        """Put a Parquet file in its place, whole."""
        made.replace(self.path)

    def _write(self, merged: Path, files: Sequence[str], index: AnswerIndex, schema: pa.Schema) -> None:
        stand = dict(index.stand())
        with pq.ParquetWriter(merged, schema, compression="zstd") as writer:
            for number, path in enumerate(files):
                indexes = stand.get(number, np.empty(0, np.int64))
                start = 0
                for rows in self.read(path, schema.names):
                    begin, end = np.searchsorted(indexes, [start, start + rows.num_rows])
                    if end > begin:
                        writer.write_table(rows.take(pa.array(indexes[begin:end] - start)).cast(schema))
                    start += rows.num_rows

    def _has_answers(self, key: Sequence[str]) -> bool:
        return any(self.has_columns(path, [*key, *NEEDED]) for path in self.all_files())

    def _merged_schema(self, schema: pa.Schema) -> pa.Schema:
        with self.open(self.name) as file:
            held = file.schema_arrow
        try:
            return pa.unify_schemas([schema.remove_metadata(), held.remove_metadata()], promote_options="permissive")
        except pa.ArrowException as error:
            raise ConfigError(
                f"{self.name}: this file cannot hold the rows of this run beside its own ({error}). Nothing was sent. "
                "Name another file, or move this one away"
            ) from None
