"""AnswerIndex: the rows of a dataset by key, and which of several rows with one key counts. It is on local disk."""

from __future__ import annotations

import itertools
import operator
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.tables.sqlite import SqliteDialect
from greennode_batch.tables.table_target import TableTarget
from greennode_batch.tables.typed_rows import OPTIONAL

_CACHE_KIB = 16_384
_FILE, _INDEX = "greennode file", "greennode row"
_TEXTS = ("custom_id", "status", "run_id", *OPTIONAL)
INDEXED = (*_TEXTS, "completed_at")
"""The columns that the index needs, in addition to the key."""

# Not for text columns: 1.50 and 1.5 are one number, 10:00:00.500000 and 10:00:00.5 are one time.
_LAST_ZEROS = (r"(\.[0-9]*?)0+(Z?)$", r"\1\2")
_BARE_POINT = (r"\.(Z?)$", r"\1")
# CSV and JSON Lines have the T of ISO 8601 between day and time.
_ISO_TIME = (r"^([0-9]+-[0-9]{2}-[0-9]{2})T", r"\1 ")
# Rows of an earlier version have no order: they sort before all rows that have one.
_NO_ORDER = "0 "


class AnswerIndex:
    """An index of rows by key. Holds a few megabytes, whatever the number of rows.

    key: the target's key, with the types of the source. Of several rows with one key, the same row counts as in a table
    (see tables/standing_rows.py).
    """

    def __init__(self, work: Path, key: pa.Schema) -> None:
        self.key = key.names
        self._is_text = {field.name: pa.types.is_string(field.type) for field in key}
        # The index is useless after this process ends, so it needs no protection against a crash.
        self._database = sqlite3.connect(work / "answers.sqlite", isolation_level=None)
        self._database.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};"
        )
        self._dialect = SqliteDialect(self._database, "standing", self.key)
        self.table = TableTarget(self._dialect)
        """The rows that count, after `settle`. All columns are text, except the file and the index in it."""
        texts = [pa.field(name, pa.string()) for name in (*self.key, *_TEXTS)]
        self._schema = pa.schema([*texts, pa.field(_FILE, pa.int64()), pa.field(_INDEX, pa.int64())])
        self.table.prepare(self._schema)
        self._database.execute("CREATE TABLE given AS SELECT * FROM standing")

    def close(self) -> None:
        """Close the database file."""
        self._database.close()

    def texts(self, rows: pa.Table) -> pa.Table:
        """Key columns as the index stores them: equal values give equal texts, whatever their types."""
        columns = [_texts(rows[name], is_text=self._is_text.get(name, True)) for name in rows.column_names]
        return pa.table(columns, names=rows.column_names)

    def add(self, file: int, indexes: pa.Array, rows: pa.Table) -> None:
        """Add rows of a file. indexes: their indexes in the file. rows: the key and the columns of INDEXED."""
        since = pc.binary_join_element_wise(_NO_ORDER, pc.fill_null(rows["completed_at"].cast(pa.string()), ""), "")
        known = {name: rows[name].cast(pa.string()) for name in _TEXTS}
        known |= {name: pc.fill_null(known[name], "") for name in ("status", "run_id")}
        known["greennode_order"] = pc.coalesce(known["greennode_order"], since)
        columns = [*self.texts(rows.select(self.key)).columns, *known.values(), pa.repeat(file, len(indexes)), indexes]
        with self._dialect.transaction(writes=True) as tx:
            self._dialect.insert(tx, "given", pa.table(columns, schema=self._schema))

    def settle(self) -> None:
        """Determine which of all added rows count."""
        names = self._dialect.names(self._schema.names)
        with self._dialect.transaction(writes=True) as tx:
            self._dialect.run(tx, "DELETE FROM standing")
            self._dialect.run(
                tx,
                f"INSERT INTO standing ({names}) SELECT {names} FROM given WHERE 1 ORDER BY greennode_order, rowid "  # noqa: S608 - quoted
                f"{self._dialect.upsert_tail(self._schema.names)}",
            )

    def standing(self, texts: pa.Table) -> pa.Table:
        """Find the rows with these keys that count, as columns `index` (of the key), `file` and `row` (in the file)."""
        fields = [pa.field(name, pa.int64()) for name in (_FILE, _INDEX)]
        return self.table.stored(texts, fields).rename_columns(["index", "file", "row"])

    def stand(self) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """Yield each file and the sorted indexes of its rows that count. Holds 8 bytes per row."""
        query = f'SELECT "{_FILE}", "{_INDEX}" FROM standing ORDER BY 1, 2'  # noqa: S608 - our own names
        for file, found in itertools.groupby(self._database.execute(query), operator.itemgetter(0)):
            yield file, np.fromiter((index for _, index in found), np.int64)

    def replaced(self) -> Iterator[tuple[int, list[int]]]:
        """Yield each file and the sorted indexes of its rows that other rows replace."""
        names = (*self.key, _FILE, _INDEX)
        is_standing = f"SELECT 1 FROM standing WHERE {self._dialect.same('given', names)}"  # noqa: S608 - quoted
        query = f'SELECT "{_FILE}", "{_INDEX}" FROM given WHERE NOT EXISTS ({is_standing}) ORDER BY 1, 2'  # noqa: S608
        for file, found in itertools.groupby(self._database.execute(query), operator.itemgetter(0)):
            yield file, [index for _, index in found]


def _texts(column: pa.ChunkedArray, *, is_text: bool) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    # A key is never NULL: if a partition's folder says NULL, the key was an empty text.
    texts = pc.fill_null(column.cast(pa.string()), "")
    for pattern, kept in () if is_text else (_LAST_ZEROS, _BARE_POINT, _ISO_TIME):
        texts = pc.replace_substring_regex(texts, pattern, kept)
    return texts


def key_types(keys: Sequence[pa.Field], names: Sequence[str]) -> pa.Schema:
    """The types of a target's key: those of the source, text for the model and an integer for the sample."""
    given = {field.name: field.type for field in keys}
    others = {"model": pa.string(), "sample": pa.int64()}
    return pa.schema([(name, given.get(name, others.get(name, pa.string()))) for name in names])
