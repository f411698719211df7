import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greennode_batch.job.file_types import CsvDialect
from greennode_batch.source.formats.strict_csv import StrayError, StrictCsv


class Pieces(io.BytesIO):
    """A file that gives a few bytes at a time."""

    def __init__(self, content, size):
        super().__init__(content)
        self.size = size

    def read(self, size=-1):
        return super().read(self.size)


def passed(content, dialect, size):
    """All bytes that come through; raises StrayError."""
    strict = StrictCsv(Pieces(content, size), dialect, b"END")
    return b"".join(iter(lambda: strict.read(size), b""))


def is_strict(text, dialect):
    """Whether a reader that goes letter by letter accepts the text."""
    state, index = "start", 0
    while index < len(text):
        one, next_one = text[index], text[index + 1 : index + 2]
        if dialect.escape and one == dialect.escape:
            if state == "closed" or not next_one or next_one not in (dialect.delimiter, dialect.quote, dialect.escape):
                return False
            state, index = "inside" if state == "inside" else "value", index + 2
            continue
        if dialect.quote and one == dialect.quote:
            if state == "value":
                return False
            state = {"start": "inside", "inside": "closed", "closed": "inside"}[state]
        elif state != "inside":
            if one == "\r" and next_one not in ("\n", ""):
                return False
            is_border = one in (dialect.delimiter, "\n", "\r")
            if state == "closed" and not is_border:
                return False
            state = "start" if is_border else "value"
        index += 1
    return state != "inside"


DIALECTS = [
    CsvDialect(",", '"', None, None),
    CsvDialect(";", "'", None, None),
    CsvDialect(",", "", None, None),
    CsvDialect(",", '"', "\\", None),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@example(text='"a""b"\r\n', size=3)
@example(text='"a"', size=1)
@example(text='\\";', size=1)
@example(text='a,"\\""\n"x"', size=2)
@settings(max_examples=100)
@given(text=st.text("a,;\"'\n\r\\", max_size=14), size=st.integers(1, 5))
def test_bytes_pass_exactly_if_a_reader_that_goes_letter_by_letter_accepts_them(dialect, text, size):
    content = text.encode()
    if is_strict(text, dialect):
        assert passed(content, dialect, size) == content + b"END"
        return
    with pytest.raises(StrayError) as caught:
        passed(content, dialect, size)
    assert -1 <= caught.value.start < caught.value.stop <= len(content)


@pytest.mark.parametrize(
    ("content", "words", "start", "stop"),
    [
        (b'1,"x" y\n2,z\n', "opens a value, and the next one .* does not end it", 2, 5),
        (b'1,x\n2,y "z"\n', "stands in the middle of a value", 8, 9),
        (b'1,x\n2,"y\n', "is opened and never closed", 6, 9),
        (b"1,x\0\n", "has a NUL byte", 3, 4),
        (b"1,x\r2,y\n", "carriage return", 3, 4),
    ],
)
def test_an_error_says_where_the_bytes_are(content, words, start, stop):
    with pytest.raises(StrayError, match=words) as caught:
        passed(content, DIALECTS[0], len(content))
    assert (caught.value.start, caught.value.stop) == (start, stop)
