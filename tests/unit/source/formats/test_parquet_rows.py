import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS
from greennode_batch.source.formats.file_listing import SourceFile, source_files
from greennode_batch.source.formats.parquet_rows import parquet_batches, parquet_layout, parquet_schema
from greennode_batch.source.partition import Part


def batches_of(path, columns):
    (file,) = source_files(path)
    return list(parquet_batches(file, columns))


@given(rows=st.integers(0, 60), group=st.integers(1, 9), total=st.integers(1, 4))
def test_each_row_is_read_by_one_part_and_the_parts_are_of_whole_row_groups(tmp_path_factory, rows, group, total):
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table({"id": pa.array(range(rows), pa.int64())}), path, row_group_size=group)
    parts = []
    for number in range(total):
        file = SourceFile(path, "", "parquet", {}, Part(number, total))
        parts.append([one for batch in parquet_batches(file, ["id"]) for one in batch["id"].to_pylist()])
    assert sorted(one for part in parts for one in part) == list(range(rows))
    assert all(len({one // group % total for one in part}) <= 1 for part in parts)


@pytest.mark.parametrize("group", [700, 20_000])
def test_row_groups_of_any_size_become_batches_of_some_thousand_rows(write, tmp_path, group):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": range(20_000), "text": ["x"] * 20_000}), path, row_group_size=group)
    batches = batches_of(path, ["id", "text"])
    assert [one for batch in batches for one in batch["id"].to_pylist()] == list(range(20_000))
    assert max(batch.num_rows for batch in batches) <= MAX_ROWS


def test_one_text_for_all_rows_is_small_in_the_file_and_not_in_memory(write):
    path = write("rows.parquet", {"id": range(50), "text": ["x" * 1_000_000] * 50})
    assert path.stat().st_size < 1_000_000
    batches = batches_of(path, ["text"])
    assert sum(batch.num_rows for batch in batches) == 50
    assert max(batch.nbytes for batch in batches) <= MAX_BYTES


def test_columns_come_in_the_order_asked_for_and_categories_as_what_they_stand_for(write):
    path = write("rows.parquet", {"a": [1, 2], "b": pa.array(["x", None]).dictionary_encode(), "c": [3, 4]})
    (batch,) = batches_of(path, ["b", "a"])
    assert sorted(batch.schema.names) == ["a", "b"]
    assert batch["b"].type == pa.string()
    assert batch["b"].to_pylist() == ["x", None]


def test_the_types_and_the_layout_are_told_without_reading_rows(write):
    (file,) = source_files(
        write("rows.parquet", {"id": pa.array([1, 2], pa.int32()), "doc": pa.array(["{}", None], pa.json_())})
    )
    assert parquet_schema(file).types == [pa.int32(), pa.json_()]
    assert parquet_layout(file) == "2 rows in 1 row groups"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"id,text\n1,x\n", b"PAR1" + b"\x00" * 100 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_named(write, content):
    (file,) = source_files(write("rows.parquet", content))
    with pytest.raises(ConfigError, match=r"rows\.parquet: cannot be read as Parquet"):
        parquet_schema(file)


# Timestamps as Spark, Hive and Impala write them

MICROSECONDS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


@given(st.lists(st.none() | MICROSECONDS, min_size=1, max_size=8), st.integers(1, 3))
def test_an_int96_timestamp_is_read_exactly_from_the_first_to_the_last_year(tmp_path_factory, values, group):
    path = tmp_path_factory.mktemp("int96") / "rows.parquet"
    table = pa.table({"at": pa.array(values, pa.timestamp("us")), "n": range(len(values))})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, row_group_size=group)
    (file,) = source_files(path)
    assert parquet_schema(file).field("at").type == pa.timestamp("us")
    read = pa.Table.from_batches(parquet_batches(file, ("at", "n")))
    assert read["at"].cast(pa.int64()).to_pylist() == values


@pytest.mark.parametrize("nested", [False, True])
def test_digits_of_an_int96_timestamp_that_would_be_dropped_are_an_error_with_the_row(tmp_path, nested):
    values = pa.array([0, 1_000, 2_000, 3_001], pa.timestamp("ns"))
    column = pa.ListArray.from_arrays(list(range(5)), values) if nested else values
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"at": column}), path, use_deprecated_int96_timestamps=True, row_group_size=3)
    (file,) = source_files(path)
    with pytest.raises(ConfigError, match=r"rows\.parquet: column at, row 4: has an INT96 timestamp"):
        list(parquet_batches(file, ("at",)))


def test_a_page_whose_checksum_is_wrong_is_an_error(tmp_path):
    path = tmp_path / "rows.parquet"
    table = pa.table({"text": [f"text {number}" for number in range(100)]})
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"text 50", b"text 51"))
    (file,) = source_files(path)
    with pytest.raises(ConfigError, match=r"rows\.parquet: cannot be read as Parquet \(.*checksum"):
        list(parquet_batches(file, ("text",)))
