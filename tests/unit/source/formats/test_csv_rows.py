import csv
import dataclasses
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.job.file_types import CsvDialect
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS
from greennode_batch.source.formats.csv_rows import csv_batches, csv_columns
from greennode_batch.source.formats.file_listing import source_files


def read(path, columns=None, **dialect):
    """The names, and the rows of some of these columns or all."""
    (file,) = source_files(path)
    file = dataclasses.replace(file, dialect=CsvDialect(**dialect))
    names = csv_columns(file)
    batches = csv_batches(file, columns or names)
    return names, [row for batch in batches for row in zip(*(one.to_pylist() for one in batch.columns), strict=True)]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


@given(
    names=st.lists(st.text("abcé \",;'", min_size=1, max_size=5), min_size=2, max_size=4, unique=True),
    data=st.data(),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    tabs=st.booleans(),
)
def test_what_csv_writes_is_read_as_it_was(tmp_path_factory, names, data, end, mark, tabs):
    rows = data.draw(st.lists(st.tuples(*[CELLS] * len(names)), max_size=8))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL, delimiter="\t" if tabs else ",")
    writer.writerows([names, *rows])
    path = tmp_path_factory.mktemp("csv") / ("rows.tsv" if tabs else "rows.csv")
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.getvalue().encode())
    assert read(path) == (tuple(names), rows)


def test_what_is_empty_is_null_and_two_quotes_are_an_empty_text(write):
    assert read(write("rows.csv", 'a,b\n,""\nNULL,NA\n'))[1] == [(None, ""), ("NULL", "NA")]


def test_only_the_columns_that_are_asked_for_are_read_in_their_order(write):
    assert read(write("rows.csv", "a,b,c\n1,2,3\n"), ("c", "a"))[1] == [("3", "1")]


def test_a_large_file_comes_in_batches_within_the_limits(write):
    path = write("rows.csv", "id,text\n" + "".join(f'{n},"{"x" * 400}"\n' for n in range(30_000)))
    (file,) = source_files(path)
    batches = list(csv_batches(file, ("id", "text")))
    assert [one for batch in batches for one in batch[0].to_pylist()] == [str(n) for n in range(30_000)]
    assert all(batch.num_rows <= MAX_ROWS and batch.nbytes <= MAX_BYTES for batch in batches)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty; a CSV file begins with a line of column names"),
        ("id,text\n1,x\n2\n", "row 2 after the first line: Expected 2 columns, got 1: 2"),
        ("id,text\n1,x,y\n", "row 1 after the first line: Expected 2 columns, got 3"),
        ('id,text\n1,"x\n2,y\n', "a quote .* is opened and never closed"),
        ('id,text\n1,x\n2,"y', "a quote .* is opened and never closed"),
        (b"id,text\n1,caf\xe9\n", "is not UTF-8"),
        (b"\xff\xfei\x00d\x00\n\x00", "its first line cannot be read as column names"),
        ("x" * 1_100_000, "its first line, the column names, is longer than 1,048,576 bytes"),
        ("id,text\n1," + "x" * 9_000_000 + "\n", "a row is longer than"),
    ],
)
def test_a_file_that_would_lose_rows_is_refused(write, content, words):
    with pytest.raises(ConfigError, match=rf"rows\.csv.*{words}"):
        read(write("rows.csv", content))


@pytest.mark.parametrize(
    ("content", "dialect", "rows"),
    [
        ('id;note\n1;a,b\n2;"c;d"\n', {"delimiter": ";"}, [("1", "a,b"), ("2", "c;d")]),
        ("id,note\n1,'it''s, here'\n2,\"x\"\n", {"quote": "'"}, [("1", "it's, here"), ("2", '"x"')]),
        ('id,note\n1,a "b" c\n2,"d\n', {"quote": ""}, [("1", 'a "b" c'), ("2", '"d')]),
        ('id,note\n1,"a \\" b"\n2,"c\\\\"\n', {"escape": "\\"}, [("1", 'a " b'), ("2", "c\\")]),
        ("id,note\n1,đủ €\n".encode("utf-16"), {"encoding": "utf-16"}, [("1", "đủ €")]),
        ("id,note\n1,naïve €\n".encode("cp1252"), {"encoding": "windows-1252"}, [("1", "naïve €")]),
        ("id,note\n1,日本\n".encode("shift_jis"), {"encoding": "Shift_JIS"}, [("1", "日本")]),
        ("\ufeffid,note\n1,x\n", {"encoding": "utf-8-sig"}, [("1", "x")]),
    ],
)
def test_a_file_of_another_dialect_is_read_as_declared(write, content, dialect, rows):
    assert read(write("rows.csv", content), **dialect) == (("id", "note"), rows)


@pytest.mark.parametrize(
    ("content", "dialect", "words"),
    [
        ('id,note,lang\n1,"15\\" wide",en\n2,"x",en\n', {}, r"row 1 .*\(line 2\).*backslash: set escape='\\\\'"),
        ('id,note\n1,ok\n2,15" wide\n', {}, r"row 2 .*\(line 3\): a quote .* in the middle of a value.*set quote=''"),
        ('id,note\n1,"x"y\n', {}, r"row 1 .*does not end it.*set quote=''"),
        ('id,note\n1,"two\nlines"\n\n2,"x\n3,"y"\n', {}, r"row 2 after the first line \(line 5\)"),
        ("id,note\n1,a\rb\n", {}, r"row 1 .*has a carriage return"),
        ("id,note\n1,a\0b\n", {}, r"row 1 .*has a NUL byte"),
        ("id;note\n1;2,5\n", {}, r"seem to be separated by ';': set delimiter=';'"),
        ("id,note\n1,\xe9\n".encode("latin-1"), {}, r"row 1 .*\(line 2\): is not UTF-8.*encoding='cp1252'"),
        ("id,note\n1,x\n".encode("utf-16"), {}, r"encoding='utf-16'"),
        ("id,note\n1,x\n".encode("utf-16-be"), {}, r"encoding='utf-16-be'"),
        (gzip.compress(b"id,note\n1,x\n", mtime=0), {}, r"its name must end with \.gz"),
        (b"PK\x03\x04\x14\0\x08\xff", {}, "export it as CSV"),
        (b"id,note\r1,x\r", {}, r"its lines end with \\r alone"),
        ("id,note\n1,x\n2,\xe9\n".encode("latin-1"), {"encoding": "ascii"}, "line 3: is not ascii"),
        ('id,note\n1,"a\\nb"\n', {"escape": "\\"}, r"row 1 .*stands before another character"),
        ('id,"no"te\n1,x\n', {}, "its first line cannot be read as column names"),
    ],
)
def test_what_a_strict_reader_refuses_is_refused_with_its_place_and_a_way_out(write, content, dialect, words):
    with pytest.raises(ConfigError, match=rf"(?s)rows\.csv.*{words}"):
        read(write("rows.csv", content), **dialect)


def test_a_stray_quote_behind_many_rows_is_found_in_its_row(write):
    rows = "".join(f'{number},"{"x" * 90}"\n' for number in range(60_000))
    with pytest.raises(ConfigError, match=r"row 60001 after the first line \(line 60002\)"):
        read(write("rows.csv", f'id,text\n{rows}60000,"x" y\n'))


def test_a_column_is_read_beside_others_of_the_same_name_or_none(write):
    assert read(write("rows.csv", ",id,a,a,\n0,1,x,y,\n"), ("id",)) == (("", "id", "a", "a", ""), [("1",)])
