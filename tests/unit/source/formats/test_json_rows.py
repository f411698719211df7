import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import MAX_ROWS
from greennode_batch.source.formats.file_listing import source_files
from greennode_batch.source.formats.json_rows import json_batches, json_columns


def read(path, sought=None):
    """The names, and the rows in their order."""
    files = source_files(path)
    names = json_columns(files, sought)
    batches = [batch for file in files for batch in json_batches(file, names)]
    return names, [row for count, columns in batches for row in zip(*columns.values(), strict=True)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=8),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    mark=st.booleans(),
)
def test_what_json_writes_is_read_as_it_was(tmp_path_factory, rows, ascii_only, end, mark):
    path = tmp_path_factory.mktemp("json") / "rows.ndjson"
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.encode())
    names, found = read(path)
    assert set(names) == {name for row in rows for name in row}
    if names:
        expected = [tuple(row.get(name) for name in names) for row in rows]
        assert found == expected
        assert repr(found) == repr(expected)  # 1, 1.0 and True are equal


@given(st.decimals(allow_nan=False, allow_infinity=False, places=25, min_value=-1000, max_value=1000))
def test_a_number_keeps_its_value_whatever_its_digits(tmp_path_factory, number):
    path = tmp_path_factory.mktemp("json") / "rows.jsonl"
    path.write_text(f'{{"n": {number:f}}}')
    ((found,),) = read(path)[1]
    assert Decimal(str(found)) == number


def test_rows_come_in_batches_of_which_none_is_larger_than_may_be_held(write):
    path = write("rows.jsonl", '{"id": 1}\n' * (MAX_ROWS + 1))
    (file,) = source_files(path)
    assert [count for count, _ in json_batches(file, ("id",))] == [MAX_ROWS, 1]
    long = write("long.jsonl", (json.dumps({"id": "x" * 3_000_000}) + "\n") * 5)
    (file,) = source_files(long)
    assert [count for count, _ in json_batches(file, ("id",))] == [2, 2, 1]


def test_a_name_that_stands_in_a_late_line_only_is_found_where_it_is_sought(write):
    path = write("rows.jsonl", '{"id": 1}\n' * 3_000 + '{"late": 2}')
    files = source_files(path)
    assert json_columns(files, {"id"}) == ("id",)
    assert json_columns(files, {"id", "late"}) == json_columns(files, None) == ("id", "late")


def test_where_there_is_no_line_no_column_is_lacking(write):
    assert read(write("rows.jsonl", "\n\n"), {"id"}) == (("id",), [])


@pytest.mark.parametrize(
    "line", ["[1]", "1", "null", '{"id": 1', "{'id': 1}", '{"id": NaN}', '{"id": "\\ud800"}', b"{\xff}", "[" * 100_000]
)
def test_a_line_that_is_no_object_is_named_by_its_number(write, line):
    line = line.encode() if isinstance(line, str) else line
    path = write("rows.jsonl", b'{"id": 0}\n\n' + line + b"\n")
    with pytest.raises(
        ConfigError, match=r"rows\.jsonl, line 3: is not a JSON object in UTF-8 .*Each line must be an object"
    ):
        read(path, {"id"})


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(write):
    path = write("rows.jsonl", b'{"id": "' + b"x" * (33 << 20))
    with pytest.raises(ConfigError, match=r"rows\.jsonl, line 1: is longer than 33,554,432 bytes"):
        read(path)
