"""Source rows: source.parquet, which maps rows to requests. It has one row per source row, model and sample.

Columns: the key, the carried columns, `sample` if the job has several, `model`, `custom_id` (NULL for a row that is not
sent) and `unsent` (why not, else NULL). If the run will write an answer cache, also `row_hashes`: the hashes of key and
input, 16 bytes (see row_hashes.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from greennode_batch.incremental.row_hashes import ROW_HASHES, RowHashes
from greennode_batch.source.column_types import fit
from greennode_batch.staging.folders import local_copy
from greennode_batch.staging.parquet import table_writer

_OWN_FIELDS = (("model", pa.string()), ("custom_id", pa.string()), ("unsent", pa.string()))
HASHES = "row_hashes"
_HASHES_TYPE = pa.binary(ROW_HASHES.itemsize)
OWN_COLUMNS = (*(name for name, _ in _OWN_FIELDS), HASHES)
_BUFFERED_ROWS = 20_000
_HELD_BYTES = 8 << 20


def source_rows(
    carried: pa.Table,
    model: str,
    custom_ids: Sequence[str | None],
    unsent: Sequence[str | None],
    hashes: RowHashes | None = None,
) -> pa.Table:
    """Build rows of source.parquet. carried: the key, the carried columns and `sample`, if there is one."""
    own = (
        pa.repeat(pa.scalar(model, pa.string()), len(custom_ids)),
        pa.array(custom_ids, pa.string()),
        pa.array(unsent, pa.string()),
    )
    rows = pa.table([*carried.columns, *own], names=[*carried.column_names, *(name for name, _ in _OWN_FIELDS)])
    if hashes is None:
        return rows
    column = pa.FixedSizeBinaryArray.from_buffers(_HASHES_TYPE, len(hashes), [None, pa.py_buffer(hashes.tobytes())])
    return rows.append_column(HASHES, column)


def hashes_in(rows: pa.Table) -> RowHashes | None:
    """The column `row_hashes`; None if any row has no hashes."""
    column = rows[HASHES]
    if column.null_count:
        return None
    return np.frombuffer(b"".join(column.to_pylist()), ROW_HASHES)


class SourceRows:
    """The source rows of one shard.

    Holds a few thousand; the rest lies in `folder`, in files with the prefix `name`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._held: list[pa.Table] = []
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: pa.Table) -> None:
        """Add rows. Their types may differ from those of earlier rows."""
        self._held.append(rows)
        self._count += rows.num_rows
        if sum(map(len, self._held)) >= _BUFFERED_ROWS or sum(one.nbytes for one in self._held) >= _HELD_BYTES:
            self._write_held()

    def close(self) -> None:
        """Write all rows and close the file. Rows that are added later go into another file."""
        self._write_held()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def schemas(self) -> list[pa.Schema]:
        """The schema of each file, once it is closed."""
        return [pq.read_schema(path) for path in self._files]

    def files(self) -> list[Path]:
        """The files with all rows, once it is closed. Their types may differ."""
        return list(self._files)

    def _write_held(self) -> None:
        for schema, tables in itertools.groupby(self._held, lambda rows: rows.schema):
            if self._writer is None or self._writer.schema != schema:
                if self._writer is not None:
                    self._writer.close()
                self._files.append(self._folder / f"{self._name}.{len(self._files):06}.parquet")
                self._writer = table_writer(self._files[-1], schema)
            self._writer.write_table(pa.concat_tables(tables))
        self._held = []


class BuiltShard:
    """A shard while its run is built."""

    def __init__(self, rows: SourceRows, stored: UPath | None = None, schema: pa.Schema | None = None) -> None:
        """stored, schema: the source file in staging, if there is one, and its types."""
        self.rows = rows
        """Its rows, except those in a source file that is already in staging."""
        self._stored = stored
        self._schema = schema

    def is_stored_as(self, schema: pa.Schema) -> bool:
        """Whether the source file in staging has all its rows, with these types."""
        return self._schema == schema and not len(self.rows)

    def schemas(self) -> list[pa.Schema]:
        """The schemas of its rows."""
        return [*([] if self._schema is None else [self._schema]), *self.rows.schemas()]

    @contextmanager
    def files(self) -> Iterator[list[Path]]:
        """The files with its rows: the source file in staging, and the rows that were added."""
        self.rows.close()
        with nullcontext() if self._stored is None else local_copy(self._stored) as stored:
            yield [*filter(None, [stored]), *self.rows.files()]


def read_tables(files: Iterable[Path]) -> Iterator[pa.Table]:
    """Read the rows of these files, a few thousand at a time."""
    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def write_source(files: Sequence[Path], schema: pa.Schema, made: Path) -> None:
    """Write source.parquet from these files, with one schema. A single file that already has it is moved."""
    if len(files) == 1 and pq.read_schema(files[0]).equals(schema):
        files[0].replace(made)
        return
    with table_writer(made, schema) as writer:
        for rows in read_tables(files):
            if HASHES in schema.names and HASHES not in rows.column_names:
                # These rows come from a build that wrote no hashes.
                rows = rows.append_column(HASHES, pa.nulls(rows.num_rows, _HASHES_TYPE))  # noqa: PLW2901
            writer.write_table(fit(rows, schema))
