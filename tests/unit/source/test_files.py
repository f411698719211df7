import datetime
import gzip
import json
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import CsvDialect
from greennode_batch.source.files import read_files
from greennode_batch.source.partition import Part


def rows_of(source, columns=None):
    columns = columns or source.columns
    return [row for batch in source.batches for row in zip(*map(batch.values, columns), strict=True)]


def types_of(source):
    batch = next(source.batches)
    return {name: batch.array(name).type for name in source.columns}


# Parquet


def test_the_types_of_parquet_survive(write):
    moment = datetime.datetime(2026, 1, 31, 12, 30, tzinfo=datetime.UTC)
    key = uuid.uuid4()
    columns = {
        "int8": pa.array([2**63 - 1, None]),
        "uint8": pa.array([2**64 - 1, None], pa.uint64()),
        "numeric": pa.array([Decimal("123456789012345678901234567.123"), None]),
        "day": pa.array([datetime.date(2026, 1, 31), None]),
        "moment": pa.array([moment, None], pa.timestamp("us", "Asia/Tokyo")),
        "clock": pa.array([datetime.time(12, 30), None]),
        "yes": pa.array([True, None]),
        "tags": pa.array([["a", None], None]),
        "nested": pa.array([{"a": 1}, None]),
        "uuid": pa.array([key.bytes, None], pa.uuid()),
        "document": pa.array(['{"a": [1, 2]}', None], pa.json_()),
        "category": pa.array(["red", None]).dictionary_encode(),
        "large": pa.array(["text", None], pa.large_string()),
    }
    path = write("rows.parquet", columns)
    first, nulls = rows_of(read_files(path))
    assert nulls == (None,) * len(columns)
    values = dict(zip(columns, first, strict=True))
    assert values == {
        "int8": 2**63 - 1, "uint8": 2**64 - 1, "numeric": Decimal("123456789012345678901234567.123"),
        "day": datetime.date(2026, 1, 31), "moment": moment, "clock": datetime.time(12, 30), "yes": True,
        "tags": ["a", None], "nested": {"a": 1}, "uuid": key, "document": {"a": [1, 2]}, "category": "red",
        "large": "text",
    }  # fmt: skip
    assert values["moment"].isoformat() == "2026-01-31T21:30:00+09:00"
    kept = types_of(read_files(path))
    assert all(kept[name] == columns[name].type for name in ("int8", "uint8", "numeric", "day", "moment", "clock"))
    texts = {name: kept[name] for name in ("tags", "nested", "uuid", "document", "category", "large")}
    assert set(texts.values()) == {pa.string()}


def test_only_the_columns_that_are_needed_are_read(write):
    path = write("rows.parquet", {"id": [1, 2], "text": ["a", "b"], "bytes": [b"x", b"y"]})
    source = read_files(path, columns={"text", "colour"})
    assert source.columns == ("id", "text", "bytes")
    (batch,) = source.batches
    assert list(batch.values("text")) == ["a", "b"]
    with pytest.raises(KeyError):
        batch.values("id")


def test_bytes_are_refused_where_they_are_kept_and_harmless_where_they_are_not(write):
    source = read_files(write("rows.parquet", {"id": [1], "image": [b"\x00"]}))
    (batch,) = source.batches
    assert batch.array("id").to_pylist() == [1]
    with pytest.raises(ConfigError, match="column image holds bytes; encode it as text"):
        batch.array("image")


# CSV


def test_csv_is_text_and_nothing_is_guessed(write):
    path = write("rows.csv", 'id,day,n,empty\n007,2026-01-31,12345678901234567890123,\nNULL,NA,1e5,""\n')
    source = read_files(path)
    assert source.columns == ("id", "day", "n", "empty")
    assert rows_of(source) == [
        ("007", "2026-01-31", "12345678901234567890123", None),
        ("NULL", "NA", "1e5", ""),
    ]


def test_declared_types_are_what_csv_becomes(write):
    words = {
        "i": "integer", "f": "float", "d": "decimal(30, 2)", "b": "boolean", "day": "date", "at": "timestamp",
        "tz": "timestamptz", "doc": "json", "t": "text",
    }  # fmt: skip
    path = write(
        "rows.csv",
        "i,f,d,b,day,at,tz,doc,t\n"
        "9223372036854775807,0.5,1234567890123456789012345678.90,true,2026-01-31,2026-01-31 12:00:00,"
        '2026-01-31T12:00:00+02:00,"{""a"": 1}",7\n'
        ",,,,,,,,\n",
    )
    first, nulls = rows_of(read_files(path, types=words))
    assert first == (
        2**63 - 1, 0.5, Decimal("1234567890123456789012345678.90"), True, datetime.date(2026, 1, 31),
        datetime.datetime(2026, 1, 31, 12),  # noqa: DTZ001 - it has none
        datetime.datetime(2026, 1, 31, 10, tzinfo=datetime.UTC), {"a": 1}, "7",
    )  # fmt: skip
    assert set(nulls) == {None}


def test_a_value_that_is_not_of_the_declared_type_names_file_and_column(write):
    path = write("rows.csv", "id,n\n1,x\n")
    with pytest.raises(ConfigError, match=r"rows\.csv: column n, row 1: a value cannot be converted to int64 .*'x'"):
        rows_of(read_files(path, types={"n": "integer"}))
    with pytest.raises(ConfigError, match=r"rows\.csv: types= declares m, but the columns are id, n\."):
        read_files(path, types={"m": "integer"})
    with pytest.raises(ConfigError, match="types: 'int' is not a type; use text, integer"):
        read_files(path, types={"n": "int"})


# JSON Lines


def test_numbers_of_json_stay_exact_and_nested_values_stay_nested(write):
    path = write(
        "rows.jsonl",
        '{"id": 9223372036854775807, "n": 0.1, "d": 0.12345678901234567890, "x": {"a": [1, null]}}\r\n'
        "\n"
        '{"id": 123456789012345678901234567890, "n": 1e5, "d": 2, "x": "\u2028"}',
    )
    assert rows_of(read_files(path)) == [
        (2**63 - 1, 0.1, Decimal("0.12345678901234567890"), {"a": [1, None]}),
        (123456789012345678901234567890, 1e5, 2, "\u2028"),
    ]
    (batch,) = read_files(path, types={"id": "decimal(30, 0)"}).batches
    assert batch.array("id").to_pylist() == [Decimal(2**63 - 1), Decimal(123456789012345678901234567890)]
    assert batch.array("x").to_pylist() == ['{"a": [1, null]}', "\u2028"]


def test_a_name_that_stands_in_a_late_line_only_is_a_column_where_it_is_needed(write):
    lines = [{"id": number} for number in range(3_000)] + [{"id": 3_000, "late": "x", "later": "y"}]
    path = write("rows.jsonl", "\n".join(map(json.dumps, lines)))
    source = read_files(path, columns={"id", "late"})
    assert source.columns == ("id", "late", "later")
    assert rows_of(source, ("id", "late")) == [(line["id"], line.get("late")) for line in lines]
    assert read_files(path, columns={"id"}).columns == ("id",)


def test_a_file_without_lines_has_no_rows_and_lacks_no_column(write):
    source = read_files(write("rows.jsonl", "\n"), columns={"id"})
    assert (source.columns, rows_of(source)) == (("id",), [])


# Folders


def test_a_folder_is_read_in_the_order_of_names_and_what_is_hidden_is_left_out(write, tmp_path):
    for name in ("b.csv", "a/2.csv", "a/10.csv", "c.csv.gz"):
        content = f"name\n{name}\n".encode()
        write(f"in/{name}", gzip.compress(content) if name.endswith(".gz") else content)
    for name in (".b.csv.crc", "_SUCCESS", "_temporary/0.csv", ".hidden/x.csv"):
        write(f"in/{name}", "name\nnever\n")
    assert rows_of(read_files(tmp_path / "in")) == [("a/10.csv",), ("a/2.csv",), ("b.csv",), ("c.csv.gz",)]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_folders_with_a_columns_name_and_value_are_a_column(write, tmp_path, ending):
    for folder in ("day=2026-01-31/tenant=a%2Fb", "day=__HIVE_DEFAULT_PARTITION__/tenant=01"):
        content = {"parquet": {"id": [1]}, "csv": "id\n1\n", "jsonl": '{"id": 1}'}[ending]
        write(f"in/{folder}/rows.{ending}", content)
    source = read_files(tmp_path / "in", types={"id": "integer", "day": "date"})
    assert source.columns == ("id", "day", "tenant")
    assert rows_of(source) == [(1, datetime.date(2026, 1, 31), "a/b"), (1, None, "01")]


def test_a_column_that_some_files_lack_is_null_in_their_rows(write, tmp_path):
    write("in/1.parquet", {"id": pa.array([1], pa.int32()), "category": pa.array(["x"]).dictionary_encode()})
    write("in/2.parquet", {"id": [2**40], "text": ["two"]})
    source = read_files(tmp_path / "in")
    assert source.columns == ("id", "category", "text")
    assert [batch.array("id").type for batch in source.batches] == [pa.int64(), pa.int64()]
    assert rows_of(read_files(tmp_path / "in")) == [(1, "x", None), (2**40, None, "two")]
    write("csv/1.csv", "id,a\n1,x\n")
    write("csv/2.csv", "b,id\ny,2\n")
    assert rows_of(read_files(tmp_path / "csv")) == [("1", "x", None), ("2", None, "y")]


@pytest.mark.parametrize("other", [pa.array([1.5]), pa.array(["1"]), pa.array([True]), pa.array([b"1"])])
def test_types_that_differ_are_refused_unless_it_is_said_what_they_are(write, tmp_path, other):
    write("in/1.parquet", {"id": [1], "n": pa.array([None], pa.null())})
    write("in/2.parquet", {"id": [2], "n": [1]})
    write("in/3.parquet", {"id": [3], "n": other})
    with pytest.raises(
        ConfigError,
        match=r"column n is int64 in .*/2\.parquet and \w+ in .*/3\.parquet; declare one type for all files",
    ):
        read_files(tmp_path / "in")
    assert len(rows_of(read_files(tmp_path / "in", columns={"id"}), ("id",))) == 3
    if other.type != pa.binary():
        assert len(rows_of(read_files(tmp_path / "in", types={"n": "text"}))) == 3


# Parts


def parts_of(path, *, total=3):
    return [read_files(path, part=Part(number, total)) for number in range(total)]


@given(files=st.lists(st.lists(st.integers(), max_size=3), min_size=1, max_size=7), total=st.integers(2, 5))
def test_the_files_of_a_folder_are_dealt_out_each_to_one_part(tmp_path_factory, files, total):
    folder = tmp_path_factory.mktemp("rows")
    for number, ids in enumerate(files):
        (folder / f"{number}.csv").write_text("".join(f"{one}\n" for one in ["id", *ids]))
    parts = parts_of(folder, total=total)
    assert len({part.origin for part in parts}) == 1
    read = [rows_of(part) for part in parts]
    for number, rows in enumerate(read):
        assert rows == [(str(one),) for ids in files[number::total] for one in ids]
    assert sorted(row for rows in read for row in rows) == sorted(rows_of(read_files(folder)))


def test_all_parts_have_the_columns_and_types_of_all_files(write):
    write("rows/a.parquet", {"id": pa.array([1], pa.int32())})
    write("rows/b.parquet", {"id": pa.array([2**40]), "text": pa.array(["b"])})
    path = write("rows/c.parquet", {"id": pa.array([3], pa.int8())}).parent
    for part in parts_of(path, total=3):
        assert part.columns == ("id", "text")
        assert types_of(part) == {"id": pa.int64(), "text": pa.string()}


@given(rows=st.integers(0, 30), group=st.integers(1, 7), total=st.integers(2, 5))
def test_a_single_parquet_file_is_dealt_out_by_row_groups(tmp_path_factory, rows, group, total):
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table({"id": range(rows)}), path, row_group_size=group)
    for index in (path, path.parent):
        parts = parts_of(index, total=total)
        assert len({part.origin for part in parts}) == 1
        read = [[number for (number,) in rows_of(part)] for part in parts]
        for number, ids in enumerate(read):
            assert ids == [one for one in range(rows) if one // group % total == number]


def test_files_that_come_or_go_are_seen_by_the_origin_of_what_is_read_then(write):
    path = write("rows/b.csv", "id\n1\n").parent
    write("rows/c.csv", "id\n2\n")
    (before, _) = parts_of(path, total=2)
    (path / "a.csv").write_text("id\n0\n")
    (_, after) = parts_of(path, total=2)
    assert before.origin != after.origin
    one = write("one.parquet", {"id": [1, 2]})
    (before, _) = parts_of(one, total=2)
    pq.write_table(pa.table({"id": [1, 2]}), one, row_group_size=1)
    (_, after) = parts_of(one, total=2)
    assert before.origin != after.origin


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.csv.gz"])
def test_a_single_file_that_is_no_parquet_is_not_read_in_parts(write, name):
    content = b'{"id": 1}\n' if "json" in name else b"id\n1\n"
    path = write(name, gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ConfigError, match=f"{name}: a single file is read in parts only if it is Parquet"):
        parts_of(path)
    # Of a folder that happens to have one file today, it is one part's.
    assert [len(rows_of(part)) for part in parts_of(path.parent)] == [1, 0, 0]


# Values that Python cannot hold


def far(unit="us", zone=None, *, years=(1, 9999)):
    ticks = [
        np.datetime64(f"{year:+05}-12-31T23:59:59" if year > 9999 else f"{year:04}-12-31T23:59:59", unit)
        .astype(np.int64)
        .item()
        for year in years
    ]
    return pa.array([*ticks, None], pa.timestamp(unit, zone))


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_the_first_and_the_last_year_of_python_are_read(write, unit, zone):
    rows = rows_of(read_files(write("rows.parquet", {"at": far(unit, zone)})))
    assert [at and at.replace(tzinfo=None).isoformat() for (at,) in rows] == [
        "0001-12-31T23:59:59", "9999-12-31T23:59:59", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (far(years=(2026, 10_000)), "row 2: 10000-12-31 23:59:59.000000 is no timestamp"),
        (far("s", "UTC", years=(2026, 29_000)), "row 2: 29000-12-31"),
        (far("us", "Asia/Ho_Chi_Minh"), r"row 2: 10000-01-01 06:59:59.*in UTC by types=\{'n': 'timestamptz'\}"),
        (pa.array([0, 10**7], pa.date32()), "row 2: 29349-01-26 is no date32"),
        (pa.array([None, 10**15], pa.date64()), "row 2: .* is no date"),
        (pa.array([0, 5], pa.time64("ns")), "row 2: 00:00:00.000000005 is no time64"),
        (pa.array([0, 10**16], pa.duration("s")), "row 2: 10000000000000000 is no duration"),
        (pa.array([[], [None, 10**7]], pa.list_(pa.date32())), "row 2: its value is no list"),
        (pa.array([{"a": 0}, {"a": 7}], pa.struct([("a", pa.time64("ns"))])), "row 2: its value is no struct"),
    ],
)
def test_a_value_beyond_python_is_an_error_with_file_column_and_row(write, values, words):
    path = write("rows.parquet", {"n": values})
    with pytest.raises(ConfigError, match=rf"rows\.parquet: column n, {words}"):
        rows_of(read_files(path))


def test_a_value_beyond_python_is_read_as_another_type(write):
    path = write("rows.parquet", {"at": far("us", "Asia/Ho_Chi_Minh"), "day": pa.array([0, 10**7, None], pa.date32())})
    (batch,) = read_files(path, types={"at": "timestamptz", "day": "text"}).batches
    assert [at and at.isoformat() for at in batch.values("at")] == [
        "0001-12-31T23:59:59+00:00", "9999-12-31T23:59:59+00:00", None,
    ]  # fmt: skip
    assert batch.values("day") == ["1970-01-01", "29349-01-26", None]
    with pytest.raises(ConfigError, match="row 2: a value cannot be converted to string"):
        rows_of(
            read_files(write("far.parquet", {"at": pa.array([0, 2**62], pa.timestamp("us"))}), types={"at": "text"})
        )


def test_a_row_of_a_part_is_counted_in_the_whole_file(write, tmp_path):
    days = pa.table({"n": pa.array([0, 1, 2, 3, 4, 10**7], pa.date32())})
    pq.write_table(days, tmp_path / "rows.parquet", row_group_size=2)
    with pytest.raises(ConfigError, match="column n, row 6:"):
        rows_of(read_files(tmp_path / "rows.parquet", part=Part(0, 2)))


@pytest.mark.parametrize("value", [b"text", "văn bản".encode()])
def test_text_that_parquet_does_not_declare_as_text_is_read_as_declared(write, value):
    path = write("rows.parquet", {"n": pa.array([value, None], pa.binary())})
    assert rows_of(read_files(path, types={"n": "text"})) == [(value.decode(),), (None,)]
    (batch,) = read_files(path).batches
    with pytest.raises(ConfigError, match=r'column n holds bytes.*set types=\{"n": "text"\}'):
        batch.array("n")


def test_bytes_that_are_no_text_are_an_error_with_column_and_row(write):
    path = write("rows.parquet", {"n": pa.array([b"x", b"\xff"], pa.binary())})
    with pytest.raises(ConfigError, match=r"rows\.parquet: column n, row 2: a value cannot be converted to string"):
        rows_of(read_files(path, types={"n": "text"}))


@pytest.mark.parametrize(("value", "words"), [(9.999, "decimal(12, 2)"), (7, "boolean"), (0.5, "integer")])
def test_a_number_that_a_declared_type_would_change_is_an_error_with_its_row(write, value, words):
    path = write("rows.jsonl", f'{{"n": 1}}\n{{"n": {value}}}\n')
    with pytest.raises(ConfigError, match=r"column n, row 2: a value cannot be converted to"):
        rows_of(read_files(path, types={"n": words}))


def test_numbers_in_json_keep_their_digits(write):
    digits = '{"a": 0.12345678901234567890, "b": [1e400, 123456789012345678901234567890, 1.5]}'
    (batch,) = read_files(write("rows.parquet", {"n": pa.array([digits], pa.json_())})).batches
    assert batch.values("n")[0]["a"] == Decimal("0.12345678901234567890")
    assert batch.values("n")[0]["b"] == [Decimal("1e400"), 123456789012345678901234567890, 1.5]
    (batch,) = read_files(write("rows.jsonl", f'{{"n": {digits}}}')).batches
    assert batch.array("n").to_pylist() == [digits.replace("1e400", "1E+400")]


# Columns that nobody can name


@pytest.mark.parametrize("header", [",id,note", "id,note,", "id, ,note", "id,twice,twice,note", "id,note,,"])
def test_columns_without_a_name_of_their_own_are_left_out(write, caplog, header):
    cells = [{"id": "7", "note": "fits"}.get(name, "z") for name in header.split(",")]
    rows = read_files(write("rows.csv", f"{header}\n{','.join(cells)}\n"), columns=("id", "note"))
    assert rows.columns == ("id", "note")
    assert rows_of(rows) == [("7", "fits")]
    assert "are left out" in caplog.text


def test_a_name_that_occurs_twice_and_is_needed_is_an_error(write):
    with pytest.raises(ConfigError, match=r"rows\.csv: .*column\(s\) note twice"):
        read_files(write("rows.csv", "id,note,note\n1,x,y\n"), columns=("id", "note"))


def test_a_header_of_another_delimiter_is_an_error_that_names_the_delimiter(write):
    path = write("rows.csv", "id|note\n1|x\n")
    with pytest.raises(ConfigError, match=r"single column 'id\|note'.*set delimiter='\|'"):
        read_files(path, columns=("id", "note"))
    rows = read_files(path, columns=("id", "note"), dialect=CsvDialect(delimiter="|"))
    assert rows_of(rows) == [("1", "x")]


def test_a_dialect_is_for_csv_alone(write):
    with pytest.raises(ConfigError, match=r"rows\.jsonl: is jsonl, and only CSV and TSV files have a delimiter"):
        read_files(write("rows.jsonl", '{"id": 1}\n'), dialect=CsvDialect(encoding="cp1252"))
