import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS
from greennode_batch.source.formats.csv_rows import csv_batches, csv_columns
from greennode_batch.source.formats.file_listing import source_files


def read(path, columns=None):
    """The names, and the rows of some of these columns or all."""
    (file,) = source_files(path)
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
