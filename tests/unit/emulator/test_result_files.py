import pytest

from greennode_emulator.dialects.openai import OPENAI
from greennode_emulator.faults.batch_faults import Bom, Crlf, NoFinalNewline, Utf16
from greennode_emulator.records import BatchRecord
from greennode_emulator.result_files import ResultFiles, merged_lines, result_file_id
from greennode_emulator.store import Store

PIECES = [[b"1", b"2"], [], ["é".encode()], [b"4", b"5"]]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def make_batch(*faults):
    return BatchRecord(
        id="b",
        input_file_id="f",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata=None,
        created_at=1000,
        seconds=1,
        faults=faults,
    )


@pytest.mark.parametrize(
    ("faults", "content"),
    [
        ([], "1\n2\né\n4\n5\n".encode()),
        ([Bom()], "1\n2\né\n4\n5\n".encode("utf-8-sig")),
        ([Crlf()], "1\r\n2\r\né\r\n4\r\n5\r\n".encode()),
        ([NoFinalNewline()], "1\n2\né\n4\n5".encode()),
        ([Utf16()], b"\xff\xfe" + "1\n2\né\n4\n5\n".encode("utf-16-le")),
        ([Utf16(), Crlf(), NoFinalNewline()], b"\xff\xfe" + "1\r\n2\r\né\r\n4\r\n5".encode("utf-16-le")),
    ],
)
def test_a_file_that_is_written_in_pieces_is_as_if_written_at_once(store, faults, content):
    committed = 0
    for piece in PIECES:
        # Another process each time, the one before killed in mid-write.
        files = ResultFiles(make_batch(*faults), store=store, dialect=OPENAI)
        committed = files.write("output", committed, piece)
        with store.path(result_file_id("b", "output", OPENAI)).open("ab") as file:
            file.write(b"half a li")
    ResultFiles(make_batch(*faults), store=store, dialect=OPENAI).write("output", committed, [])
    assert store.path(result_file_id("b", "output", OPENAI)).read_bytes()[:committed] == content


def test_merged_lines_leave_alone_what_they_cannot_read(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b'{"a": 1}\n{"a"\n{"b": 2}\n')
    read = list(merged_lines([(path, 24)], lambda line: {"A": line["a"]}))
    assert read == [b'{"A":1}\n', b'{"a"\n', b'{"b": 2}\n']


@pytest.mark.parametrize(("size", "lines"), [(0, []), (2, [b"1"]), (3, [b"1", b"2"])])
def test_merged_lines_end_where_a_file_is_committed(tmp_path, size, lines):
    path = tmp_path / "lines"
    path.write_bytes(b"1\n2\n3\nhalf a li")
    assert [line.strip() for line in merged_lines([(path, size)], lambda line: line)] == lines
