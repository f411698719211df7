"""What is written as CSV or JSON Lines reads back as it was, by our own reader and by others'."""

import csv
import datetime
import decimal
import io
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.source.files import read_files
from greennode_batch.write.text_rows import read_texts, text_rows, write_head, write_texts

JSON = {b"greennode": b"json"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", '"', ",", "\r\n", "007", "nan"]
)
EPOCH = datetime.datetime.fromisoformat("1970-01-01")
MOMENTS = st.integers(-(2**50), 2**52).map(lambda passed: EPOCH + datetime.timedelta(microseconds=passed))
COLUMNS = {
    "text": (pa.string(), "text", TEXTS),
    "whole": (pa.int64(), "integer", st.integers(-(2**63), 2**63 - 1)),
    "number": (pa.float64(), "float", st.floats(allow_nan=False)),
    "money": (pa.decimal128(20, 2), "decimal(20, 2)", st.decimals("-1e17", "1e17", places=2)),
    "yes": (pa.bool_(), "boolean", st.booleans()),
    "day": (pa.date32(), "date", st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1))),
    "local": (pa.timestamp("us"), "timestamp", MOMENTS),
    "moment": (
        pa.timestamp("us", tz="Asia/Ho_Chi_Minh"),
        "timestamptz",
        MOMENTS.map(lambda moment: moment.replace(tzinfo=datetime.UTC)),
    ),
}  # fmt: skip
ROWS = st.lists(st.tuples(*(st.none() | values for _, _, values in COLUMNS.values())), min_size=1, max_size=5)


def file_of(rows, file_format):
    texts = text_rows(rows, file_format)
    return write_head(rows.column_names, file_format) + write_texts(texts, file_format)


def table_of(rows):
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, kind) for column, (kind, _, _) in zip(columns, COLUMNS.values(), strict=True)],
        names=list(COLUMNS),
    )


@pytest.mark.parametrize("file_format", ["csv", "tsv", "jsonl"])
@given(rows=ROWS)
def test_every_value_is_read_back_as_the_same_by_a_source(tmp_path_factory, file_format, rows):
    path = tmp_path_factory.mktemp("rows") / f"rows.{file_format}"
    path.write_bytes(file_of(table_of(rows), file_format))
    read = read_files(path, types={name: words for name, (_, words, _) in COLUMNS.items()})
    if file_format != "jsonl" and any("\0" in value for row in rows for value in row if isinstance(value, str)):
        with pytest.raises(ConfigError, match="has a NUL byte"):
            list(read.batches)
        return
    found = [row for batch in read.batches for row in zip(*(batch.values(name) for name in COLUMNS), strict=True)]
    assert found == rows


@given(rows=ROWS)
def test_other_readers_find_the_same_texts_and_numbers(rows):
    table = table_of(rows)
    lines = list(csv.reader(io.StringIO(file_of(table, "csv").decode(), newline=""), strict=True))
    assert lines[0] == list(COLUMNS)
    assert [line[0] for line in lines[1:]] == [row[0] or "" for row in rows]
    decoded = [json.loads(line, parse_float=decimal.Decimal) for line in file_of(table, "jsonl").splitlines()]
    assert [(row["text"], row["whole"], row["money"], row["yes"]) for row in decoded] == [
        (row[0], row[1], row[3], row[4]) for row in rows
    ]


def test_the_formats_of_the_table_in_the_docstring():
    rows = pa.table(
        {
            "f": [1.0, float("nan"), float("-inf")],
            "t": pa.array([datetime.time(8, 30)] * 3),
            "d": [decimal.Decimal("1.50"), None, decimal.Decimal(0)],
            "m": pa.array([datetime.datetime.fromisoformat("2026-01-31T08:30:00.5")] * 3),
            "j": pa.array(['{"a": [1.50, null]}', None, '"x"']),
            "s": ["", None, 'a "b", c'],
        }
    )
    rows = rows.cast(rows.schema.set(4, pa.field("j", pa.string(), metadata=JSON)))
    assert file_of(rows, "csv").decode().splitlines() == [
        "f,t,d,m,j,s",
        '1.0,08:30:00,1.50,2026-01-31T08:30:00.5,"{""a"": [1.50, null]}",""',
        "nan,08:30:00,,2026-01-31T08:30:00.5,,",
        '-inf,08:30:00,0.00,2026-01-31T08:30:00.5,"""x""","a ""b"", c"',
    ]
    assert file_of(rows, "jsonl").decode().splitlines() == [
        '{"f":1.0,"t":"08:30:00","d":1.50,"m":"2026-01-31T08:30:00.5","j":{"a":[1.50,null]},"s":""}',
        '{"f":"nan","t":"08:30:00","d":null,"m":"2026-01-31T08:30:00.5","j":null,"s":null}',
        '{"f":"-inf","t":"08:30:00","d":0.00,"m":"2026-01-31T08:30:00.5","j":"x","s":"a \\"b\\", c"}',
    ]


@pytest.mark.parametrize(("content", "words"), [("a,a\n1,2\n", "two columns of one name"), ('a\n"1\n', "never closed")])
def test_what_is_no_such_file_is_refused(tmp_path, content, words):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(ConfigError, match=words):
        list(read_texts(tmp_path / "x.csv", "csv"))
