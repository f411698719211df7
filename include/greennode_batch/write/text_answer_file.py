"""Text answer file: one CSV or JSON Lines file on local disk as a target, with all that an answer file promises.

Its rows are looked up, merged and compared as Parquet files of texts, in a folder on local disk. What stays in the
file is written back as it was.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import FileFormat
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.text_rows import read_texts, text_rows, write_head, write_texts


class TextAnswerFile(AnswerFile):
    """A file at a path, which need not be there. One that holds no answers by the job's key is never replaced.

    file_format: `csv`, `tsv` or `jsonl`. Close it, to remove what it has on local disk.
    """

    def __init__(self, path: Path, file_format: FileFormat) -> None:
        super().__init__(path)
        self._format = file_format
        self._work: tempfile.TemporaryDirectory[str] | None = None
        self._copy: Path | None = None

    def close(self) -> None:
        """Remove the copies on local disk."""
        if self._work is not None:
            self._work.cleanup()
        self._work = self._copy = None

    def all_files(self) -> list[str]:
        """Its path, if there is something in it."""
        return [self.name] if self.path.is_file() and self.path.stat().st_size else []

    @contextmanager
    def open(self, path: str) -> Iterator[pq.ParquetFile]:
        """Its rows as texts, or a file that is to take its place."""
        with super().open(str(self._texts()) if path == self.name else path) as file:
            yield file

    def check(self, schema: pa.Schema, key: Sequence[str]) -> None:
        """Raise ConfigError for a file that holds no answers: it is not one of ours to write."""
        if self.all_files() and not self._has_answers(key):
            raise ConfigError(
                f"{self.name}: is there and holds no answers by the key {', '.join(key)}; name another file, or move "
                "it away. Nothing was sent"
            )

    def merge(self, made: Path, key: pa.Schema, *, run_id: str) -> None:
        """As of any answer file; made: a Parquet file of all rows of a run."""
        texts = self._folder() / "made"
        with pq.ParquetFile(made) as file:
            tables = chain([file.schema_arrow.empty_table()], map(pa.table, file.iter_batches()))
            _write_parquet(texts, (text_rows(rows, self._format) for rows in tables))
        super().merge(texts, key, run_id=run_id)
        made.unlink(missing_ok=True)

    def _land(self, parquet: Path) -> None:
        part = self.path.with_name(f".{self.path.name}.text.part")
        try:
            with pq.ParquetFile(parquet) as file, part.open("wb") as out:
                out.write(write_head(file.schema_arrow.names, self._format))
                for batch in file.iter_batches():
                    out.write(write_texts(pa.table(batch), self._format))
                out.flush()
                os.fsync(out.fileno())
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)
        parquet.unlink()
        self._copy = None

    def _texts(self) -> Path:
        """The file's rows, as a Parquet file of texts."""
        if self._copy is None:
            copy = self._folder() / "texts"
            try:
                _write_parquet(copy, read_texts(self.path, self._format))
            except ConfigError as error:
                raise ConfigError(
                    f"{error}. The answers would go into this file; name another, or move it away"
                ) from None
            self._copy = copy
        return self._copy

    def _folder(self) -> Path:
        if self._work is None:
            self._work = tempfile.TemporaryDirectory(prefix="greennode-")
        return Path(self._work.name)


def _write_parquet(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
