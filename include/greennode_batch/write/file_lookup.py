"""File lookup: finds which rows a dataset or a file has answered, whichever run wrote them, through an index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.incremental.target_lookup import Found, LookupRows, TableLookup, typed
from greennode_batch.job.columns import OWNER_COLUMNS
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.tables.fingerprint import row_hashes
from greennode_batch.tables.text_hashes import Hashes
from greennode_batch.write.answer_index import INDEXED, AnswerIndex, key_types
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.parquet_files import ParquetFiles

NEEDED = ("custom_id", "status", "run_id")
"""The columns, in addition to the key, without which a file has no answers."""


class FileLookup:
    """Looks up the rows of earlier runs in a dataset or a file. The first lookup builds the index.

    key: the target's primary key. work: a folder on local disk for the index.

    Rows in the run's own files count as answered, but have to be written again, because a later build withdraws these
    files.
    """

    def __init__(self, files: ParquetFiles, key: Sequence[str], work: Path, *, job_id: str | None = None) -> None:
        self.name = files.name
        self.target_id = files.target_id
        self._files = files
        self._key = key
        self._work = work
        self._job_id = job_id
        self._paths: list[str] = []
        self._versions: list[tuple[object, ...]] = []
        self._index: AnswerIndex | None = None

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()

    def look_up(self, requested: LookupRows) -> Found:
        """Find which of these rows the dataset has answered; see TableLookup."""
        index = self._opened(requested.keys.schema)
        if not self._paths:
            return Found(np.zeros(requested.keys.num_rows, np.uint8), [])
        texts = index.texts(requested.keys)
        found = self._rows_of(index).look_up(requested._replace(keys=texts))
        own = [number for number, path in enumerate(self._paths) if self._files.is_own(path)]
        if not own:
            return found
        settled = np.flatnonzero(found.codes)
        where = index.standing(texts.take(pa.array(settled)))
        rewritten = where.filter(pc.is_in(where["file"], value_set=pa.array(own, pa.int64())))["index"].to_numpy()
        return found._replace(rewritten=settled[rewritten].tolist())

    def stored(self, keys: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
        """Read the rows with these keys, in these columns and `index`; see TableLookup."""
        index = self._opened(keys.schema)
        where = index.standing(index.texts(keys))
        made = [pa.schema([pa.field("index", pa.int64()), *fields]).empty_table()]
        for number in where["file"].unique().to_pylist():
            of_file = where.filter(pc.equal(where["file"], number))
            path = self._paths[number]
            wanted = [field.name for field in fields if field.name not in OWNER_COLUMNS]
            if self._files.has_columns(path, wanted):
                rows = self._files.take(path, of_file["row"].to_numpy(), [field.name for field in fields])
                self._files.check_version(path, self._versions[number])
                made.append(typed(rows.add_column(0, "index", of_file["index"]), fields))
        return pa.concat_tables(made)

    def orphaned(
        self, keys: Iterable[pa.Table], *, requested: pa.Table | None = None, order: str | None = None, remove: bool
    ) -> OrphanedRows:
        """Count the rows whose keys are not among these. They stay: a dataset loses only rows that others replace."""
        given = iter(keys)
        first = next(given, None)
        index = None if first is None else self._opened(first.schema)
        if first is None or index is None or not self._paths:
            return OrphanedRows(0, "", removed=False)
        texts = (index.texts(some) for some in (first, *given))
        as_texts = None if requested is None else index.texts(requested)
        return self._rows_of(index).orphaned(texts, requested=as_texts, order=order, remove=False)

    def _rows_of(self, index: AnswerIndex) -> TableLookup:
        return TableLookup(index.table, job_id=self._job_id, takes_over=False)

    def _opened(self, schema: pa.Schema) -> AnswerIndex:
        if self._index is None:
            self._paths = self._files.all_files()
            self._versions = [self._files.version(path) for path in self._paths]
            self._index = AnswerIndex(self._work, key_types(schema, self._key))
            for number, path in enumerate(self._paths):
                for indexes, rows in indexed_rows(self._files, path, self._key):
                    self._index.add(number, indexes, rows)
            self._index.settle()
        return self._index


@contextmanager
def file_lookup(files: ParquetFiles, key: Sequence[str], *, job_id: str | None = None) -> Iterator[FileLookup]:
    """Open a lookup of earlier runs' rows, with a temporary folder for its index.

    key: the target's primary key. job_id: the job whose rows may be orphaned.
    """
    with (
        tempfile.TemporaryDirectory(prefix="greennode-") as folder,
        closing(FileLookup(files, key, Path(folder), job_id=job_id)) as made,
    ):
        yield made


def remove_replaced(dataset: Dataset, key: pa.Schema) -> int:
    """Remove a dataset's duplicate rows for the keys that the run has written. Returns how many were removed.

    Files of earlier runs lose the rows that this run has written again. This run's files lose the rows that must not
    replace an earlier row. key: the target's key, with the types of the source. Call it after all files of the run have
    landed; if it fails, call it again. Meanwhile a reader may see a row twice, but never misses one. Raises
    ChangedError if another run does the same at the same time.
    """
    own, others = dataset.files(), set(dataset.all_files())
    paths = [*own, *sorted(others.difference(own))]
    if not own or len(paths) == len(own):
        return 0
    versions = [dataset.version(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="greennode-") as work, closing(AnswerIndex(Path(work), key)) as index:
        hashes = []
        for number, path in enumerate(own):
            for indexes, rows in indexed_rows(dataset, path, key.names):
                hashes.append(_key_hashes(index.texts(rows.select(key.names))))
                index.add(number, indexes, rows)
        index.settle()
        ours = np.sort(np.concatenate([np.empty(0, np.uint64), *hashes]))
        for number, path in enumerate(paths[len(own) :], start=len(own)):
            for indexes, rows in indexed_rows(dataset, path, key.names):
                for chosen in _of_keys(index, ours, rows.select(key.names)):
                    index.add(number, indexes.take(chosen), rows.take(chosen))
        index.settle()
        removed = 0
        for number, gone in index.replaced():
            dataset.rewrite(paths[number], without=gone, version=versions[number])
            removed += len(gone)
    return removed


def indexed_rows(files: ParquetFiles, path: str, key: Sequence[str]) -> Iterator[tuple[pa.Array, pa.Table]]:
    """Yield the rows of a file in the columns of an index, after their indexes; none if the file has no answers."""
    if not files.has_columns(path, [*key, *NEEDED]):
        return
    start = 0
    for rows in files.read(path, [*key, *(name for name in INDEXED if name not in key)]):
        yield pa.array(range(start, start + rows.num_rows), pa.int64()), rows
        start += rows.num_rows


def _of_keys(index: AnswerIndex, ours: Hashes, keys: pa.Table) -> Iterator[pa.Array]:
    """Yield the indexes of the rows whose keys are in the index. ours: the sorted hashes of the index's keys."""
    texts = index.texts(keys)
    hashes = _key_hashes(texts)
    near = np.searchsorted(ours, hashes)
    near[near == ours.size] = 0
    alike = pa.array(np.flatnonzero(ours[near] == hashes)) if ours.size else pa.array([], pa.int64())
    if len(alike):
        yield alike.take(index.standing(texts.take(alike))["index"])


def _key_hashes(texts: pa.Table) -> Hashes:
    nothing = pa.nulls(texts.num_rows, pa.string())
    return row_hashes(texts.append_column("custom_id", nothing).append_column("status", nothing), texts.column_names)
