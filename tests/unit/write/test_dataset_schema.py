from decimal import Decimal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import settle
from greennode_batch.staging.folders import run_folder
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.dataset_schema import SCHEMA_FILE


@pytest.fixture
def write(tmp_path):
    """Writes a run of one column beside its id, as a step checks it first; typed: whether its source gives the type."""
    runs = iter(range(100))

    def one(values, arrow=None, *, typed=True):
        run = next(runs)
        dataset = Dataset(UPath(tmp_path / "answers"), run_folder(tmp_path / "staging", "dag", str(run)))
        rows = pa.table({"id": pa.array([run] * len(values)), "n": pa.array(values, arrow)})
        schema = settle(rows.schema, ("id", "n") if typed else ("id",))
        dataset.prepare(schema)
        dataset.write([rows.cast(schema)], "shard")

    return one


def by_all_readers(tmp_path):
    """The column as pyarrow, pandas and DuckDB read the whole folder."""
    folder = tmp_path / "answers"
    tables = [
        ds.dataset(folder).to_table().sort_by("id")["n"].to_pylist(),
        [None if pd.isna(one) else one for one in pd.read_parquet(folder).sort_values("id")["n"]],
        [row[0] for row in duckdb.sql(f"SELECT n FROM '{folder}/*.parquet' ORDER BY id").fetchall()],
    ]
    assert tables[0] == tables[1] == tables[2]
    assert len({str(pq.read_schema(path).field("n").type) for path in folder.glob("*.parquet")}) == 1
    return tables[0]


@pytest.mark.parametrize("order", [1, -1])
def test_numbers_of_one_type_are_one_column_whatever_the_digits_of_a_run(write, tmp_path, order):
    runs = [[Decimal("9.90")], [Decimal("12345.67")], [None]][::order]
    for values in runs:
        write(values, pa.decimal128(12, 2))
    assert by_all_readers(tmp_path) == [one for values in runs for one in values]
    assert pq.read_schema(tmp_path / "answers" / SCHEMA_FILE).field("n").type == pa.decimal128(12, 2)


def test_numbers_whose_digits_the_values_decide_get_room_for_others(write, tmp_path):
    for value in ("9.90", "12345.67", "5"):
        write([Decimal(value)], typed=False)
    assert by_all_readers(tmp_path) == [Decimal("9.90"), Decimal("12345.67"), Decimal("5.00")]


def test_a_run_without_values_keeps_the_type_of_the_others(write, tmp_path):
    write([7])
    write([None], pa.null())
    assert by_all_readers(tmp_path) == [7, None]


@pytest.mark.parametrize(
    ("first", "second", "read"),
    [
        (pa.string(), pa.int64(), ["1", "2"]),
        (pa.float64(), pa.int64(), [1.0, 2.0]),
        (pa.decimal128(20, 2), pa.decimal128(5, 1), [Decimal("1.00"), Decimal("2.00")]),
        (pa.int64(), pa.int32(), [1, 2]),
    ],
)
def test_a_narrower_type_is_written_as_the_declared_one(write, tmp_path, first, second, read):
    write(
        pa.array([1]).cast(pa.decimal128(19, 0)).cast(first)
        if pa.types.is_decimal(first)
        else pa.array([1]).cast(first)
    )
    write(pa.array([2]).cast(pa.decimal128(19, 0)).cast(second, safe=False))
    assert by_all_readers(tmp_path) == read


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.int64(), pa.string()),
        (pa.int64(), pa.float64()),
        (pa.decimal128(5, 2), pa.decimal128(12, 2)),
        (pa.decimal128(12, 2), pa.decimal128(12, 3)),
        (pa.date32(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.bool_(), pa.int64()),
    ],
)
def test_a_column_that_the_files_cannot_hold_is_an_error_before_anything_is_sent(write, first, second):
    write([None], first)
    with pytest.raises(ConfigError, match=r"the column n is .* in its files, and this run has .*Nothing was sent"):
        write([None], second)


def test_files_of_a_version_that_kept_no_schema_declare_theirs(write, tmp_path):
    write([Decimal("1.50")], pa.decimal128(12, 2))
    (tmp_path / "answers" / SCHEMA_FILE).unlink()
    write([Decimal("2.5")], pa.decimal128(2, 1))
    assert by_all_readers(tmp_path) == [Decimal("1.50"), Decimal("2.50")]


def test_a_new_column_is_added_and_one_that_a_run_lacks_is_null(tmp_path):
    made = [pa.table({"id": [1], "a": ["x"]}), pa.table({"id": [2], "b": [True]})]
    for number, rows in enumerate(made):
        dataset = Dataset(UPath(tmp_path / "answers"), run_folder(tmp_path / "staging", "dag", str(number)))
        dataset.write([rows], "shard")
    schema = pq.read_schema(tmp_path / "answers" / SCHEMA_FILE)
    read = ds.dataset(tmp_path / "answers", schema=schema).to_table().sort_by("id")
    assert read.to_pylist() == [{"id": 1, "a": "x", "b": None}, {"id": 2, "a": None, "b": True}]
