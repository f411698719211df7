"""Files as other readers read them: the same values, or an error that names the file."""

import csv
import json
import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import CsvDialect
from greennode_batch.source.files import read_files

NAMES = ("a", "b")
CELLS = st.text("ab ,;\"'\\\n\r\té|", max_size=6)
ROWS = st.lists(st.tuples(CELLS, CELLS), max_size=5)
DIALECTS = st.builds(
    CsvDialect,
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(['"', "'"]),
    st.sampled_from([None, "\\"]),
    st.none(),
)
PARQUET_TYPES = (
    pa.int64(), pa.uint64(), pa.float64(), pa.bool_(), pa.string(), pa.date32(), pa.timestamp("us"), pa.timestamp("ms"),
    pa.decimal128(20, 4), pa.time64("us"), pa.list_(pa.int64()), pa.binary(),
)  # fmt: skip
DOCUMENTS = st.dictionaries(
    st.sampled_from(NAMES), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4), max_size=2
)


def rows_of(path, **said):
    read = read_files(path, **said)
    return [row for batch in read.batches for row in zip(*map(batch.values, read.columns), strict=True)]


def rows_unless_refused(path, **said):
    """The rows; None if the file is refused by its name."""
    try:
        return rows_of(path, **said)
    except ConfigError as error:
        if path.name not in str(error):
            raise
        return None


def csv_file_is_read_as_by_python(path, dialect, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(
            file, delimiter=dialect.delimiter, quotechar=dialect.quote, escapechar=dialect.escape,
            doublequote=dialect.escape is None, quoting=csv.QUOTE_ALL, lineterminator="\n",
        )  # fmt: skip
        writer.writerows([NAMES, *rows])
    assert rows_of(path, dialect=dialect) == rows


def text_is_read_as_by_strict_readers_or_refused(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    mine = rows_unless_refused(path, columns=NAMES)
    if mine is None:
        return
    lines = [line for line in csv.reader(text.splitlines(keepends=True), strict=True) if line]
    assert [tuple(value or "" for value in row) for row in mine] == [tuple(line) for line in lines[1:]]


def lines_are_read_as_by_python(path, documents):
    path.write_text("".join(f"{json.dumps(one)}\n" for one in documents), encoding="utf-8")
    read = read_files(path)
    names = read.columns
    rows = [row for batch in read.batches for row in zip(*map(batch.values, names), strict=True)] if names else []
    assert rows == ([tuple(one.get(name) for name in names) for one in documents] if names else [])


def parquet_is_read_as_by_others_or_refused(path, table, row_group_size):
    pq.write_table(table, path, row_group_size=row_group_size)
    mine = rows_unless_refused(path)
    if mine is None:
        return
    assert mine == [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
    # Each file has the path of the one before, of which DuckDB would keep parts that look new.
    duckdb.sql("SET enable_external_file_cache = false")
    assert mine == duckdb.sql(f"SELECT * FROM '{path}'").fetchall()


@st.composite
def tables(draw):
    arrow = draw(st.sampled_from(PARQUET_TYPES))
    count = draw(st.integers(1, 4))
    if arrow == pa.string():
        values = draw(st.lists(st.none() | st.text(max_size=4), min_size=count, max_size=count))
    elif arrow == pa.list_(pa.int64()):
        lists = st.none() | st.lists(st.integers(-5, 5), max_size=2)
        values = draw(st.lists(lists, min_size=count, max_size=count))
    elif arrow == pa.binary():
        values = draw(st.lists(st.none() | st.binary(max_size=3), min_size=count, max_size=count))
    elif arrow == pa.float64():
        values = draw(st.lists(st.none() | st.floats(allow_nan=False), min_size=count, max_size=count))
    else:
        numbers = st.integers(0, 1) if arrow == pa.bool_() else st.integers(0, 86_399_999_999)
        ticks = pa.array(draw(st.lists(st.none() | numbers, min_size=count, max_size=count)), pa.int64())
        if pa.types.is_decimal(arrow):
            ticks = ticks.cast(pa.decimal128(19, 0))
        if arrow == pa.date32():
            ticks = pa.array([None if one is None else one % 4_000_000 for one in ticks.to_pylist()], pa.int32())
        return pa.table({"a": ticks.cast(arrow)})
    return pa.table({"a": pa.array(values, arrow)})


NIGHTLY = [pytest.param(2_000, marks=pytest.mark.nightly), 25]


@pytest.mark.parametrize("times", NIGHTLY)
def test_files_of_each_format_are_read_as_others_read_them_or_refused(tmp_path, times):
    generated = settings(max_examples=times, deadline=None)

    @generated
    @given(DIALECTS, ROWS)
    def csv_of_any_dialect(dialect, rows):
        csv_file_is_read_as_by_python(tmp_path / "rows.csv", dialect, rows)

    @generated
    @given(st.text('ab,"\n\r', max_size=20))
    def any_text(text):
        text_is_read_as_by_strict_readers_or_refused(tmp_path / "text.csv", f"a,b\n{text}")

    @generated
    @given(st.lists(DOCUMENTS, min_size=1, max_size=5))
    def json_lines(documents):
        lines_are_read_as_by_python(tmp_path / "rows.jsonl", documents)

    @generated
    @given(tables(), st.integers(1, 3))
    def parquet(table, row_group_size):
        parquet_is_read_as_by_others_or_refused(tmp_path / "rows.parquet", table, row_group_size)

    for one in (csv_of_any_dialect, any_text, json_lines, parquet):
        one()


COLLECTIONS = os.environ.get("GREENNODE_FILE_COLLECTIONS")


@pytest.mark.skipif(not COLLECTIONS, reason="GREENNODE_FILE_COLLECTIONS names no folder with collections of files")
def test_files_of_public_collections_are_read_or_refused_by_name():
    """Reads apache/parquet-testing and csv-spectrum, where a folder with clones of them is named."""
    found = sorted(path for path in Path(COLLECTIONS or "").rglob("*") if path.suffix in {".parquet", ".csv"})
    assert found
    for path in found:
        rows_unless_refused(path)
