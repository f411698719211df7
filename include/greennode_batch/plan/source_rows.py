"""source.parquet: which rows asked what. One row per source row, model and sample, beside the shard that answers it.

Columns: the key, the carried columns, `sample` if the job asks for several, `model`, `custom_id` (NULL for a row that
is not sent) and `unsent` (why not, else NULL). Where a note is to be made of what is answered, `row_hashes` as well:
the hashes of key and input, 16 bytes (see row_hashes.py).
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
_HELD_ROWS = 20_000
_HELD_BYTES = 8 << 20


def source_rows(
    carried: pa.Table,
    model: str,
    custom_ids: Sequence[str | None],
    unsent: Sequence[str | None],
    hashes: RowHashes | None = None,
) -> pa.Table:
    """Source rows as source.parquet has them. carried: the key, the carried columns and `sample`, if there is one."""
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
    """The column `row_hashes`; None if a row has none."""
    column = rows[HASHES]
    if column.null_count:
        return None
    return np.frombuffer(b"".join(column.to_pylist()), ROW_HASHES)


class SourceRows:
    """The source rows of one shard. Holds some thousand; the rest lies in files of `folder` whose names begin so."""

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
        """Some rows. Their types may be others than before."""
        self._held.append(rows)
        self._count += rows.num_rows
        if sum(map(len, self._held)) >= _HELD_ROWS or sum(one.nbytes for one in self._held) >= _HELD_BYTES:
            self._write_held()

    def close(self) -> None:
        """Hold nothing any more, and finish the file that is open; more rows make another one."""
        self._write_held()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def schemas(self) -> list[pa.Schema]:
        """The types of each of the files, once it is closed."""
        return [pq.read_schema(path) for path in self._files]

    def files(self) -> list[Path]:
        """Where all rows lie, once it is closed; the files differ in their types."""
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
    """A shard while its run is built. rows: what it has beside its source file in staging, if that is there."""

    def __init__(self, rows: SourceRows, stored: UPath | None = None, schema: pa.Schema | None = None) -> None:
        """stored, schema: the source file, and its types."""
        self.rows = rows
        self._stored = stored
        self._schema = schema

    def is_stored_as(self, schema: pa.Schema) -> bool:
        """Whether its source file holds all its rows, with these types."""
        return self._schema == schema and not len(self.rows)

    def schemas(self) -> list[pa.Schema]:
        """The types of its rows."""
        return [*([] if self._schema is None else [self._schema]), *self.rows.schemas()]

    @contextmanager
    def files(self) -> Iterator[list[Path]]:
        """Where the rows lie: those that it had, and those that joined it."""
        self.rows.close()
        with nullcontext() if self._stored is None else local_copy(self._stored) as stored:
            yield [*filter(None, [stored]), *self.rows.files()]


def read_tables(files: Iterable[Path]) -> Iterator[pa.Table]:
    """The rows of such files, some thousand at a time."""
    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def write_source(files: Sequence[Path], schema: pa.Schema, made: Path) -> None:
    """Make source.parquet of such files, with these types for all. A single file that has them becomes it."""
    if len(files) == 1 and pq.read_schema(files[0]).equals(schema):
        files[0].replace(made)
        return
    with table_writer(made, schema) as writer:
        for rows in read_tables(files):
            if HASHES in schema.names and HASHES not in rows.column_names:
                # Of a build that made no note, or knew of none.
                rows = rows.append_column(HASHES, pa.nulls(rows.num_rows, _HASHES_TYPE))  # noqa: PLW2901
            writer.write_table(fit(rows, schema))
