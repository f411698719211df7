"""Results that a server sends as one JSON document, or as an archive, are the lines that they hold."""

import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.results.result_document import (
    has_more,
    is_whole,
    is_zip,
    may_be_document,
    read_document,
    unzip,
)

TEXTS = st.lists(st.text(max_size=30), min_size=1, max_size=5)
WRAPPERS = {
    "array": lambda lines: lines,
    "data": lambda lines: {"code": 0, "message": "ok", "data": lines},
    "two wrappers": lambda lines: {"data": {"records": lines, "total": len(lines)}, "errors": []},
    "unusual name": lambda lines: {"ok": True, "answers2": lines},
    "camel case": lambda lines: {"payload": {"batchResults": lines}},
    "lines as text": lambda lines: {"data": "\n".join(map(json.dumps, lines)), "fileId": "f1"},
    "an array as text": lambda lines: {"data": {"content": json.dumps(lines)}},
}


def lines_of(texts):
    return [{"custom_id": f"c{n}", "response": {"body": {"choices": [text]}}} for n, text in enumerate(texts)]


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
@given(texts=TEXTS, indent=st.sampled_from([None, 2]), has_mark=st.booleans())
def test_the_lines_of_a_document_are_what_it_holds(wrap, texts, indent, has_mark):
    lines = lines_of(texts)
    data = b"\xef\xbb\xbf" * has_mark + json.dumps(wrap(lines), indent=indent, ensure_ascii=False).encode()
    page = read_document(data)
    assert [json.loads(entry.line) for entry in page.items] == lines
    assert all(b"\n" not in entry.line for entry in page.items)


@pytest.mark.parametrize(
    "data",
    [
        {"custom_id": "c", "response": {"body": {"choices": [{"a": 1}]}}},
        {"customId": "c", "data": [{"a": 1}]},
        {"ref": "c", "code": 0, "data": {"choices": [{"message": {}}]}},
        {"error": {"details": [{"a": 1}]}},
        {"key": "c", "reply": {"candidates": [{"text": "a"}]}},
        {"code": 404, "message": "gone", "data": None},
        {"data": {"text": "no lines"}},
        "text",
        7,
    ],
)
def test_a_line_and_an_error_are_no_documents(data):
    assert read_document(json.dumps(data).encode()) is None


def test_a_line_is_known_by_where_the_profile_has_its_id():
    data = json.dumps({"code": 0, "data": {"ref": "c", "results": [{"a": 1}]}}).encode()
    assert read_document(data, id_path="data.ref") is None
    assert read_document(data, id_path="other.ref").entries == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_a_page_or_none(data):
    page = read_document(data)
    assert page is None or page.entries == len(page.items)


@pytest.mark.parametrize(
    ("around", "more", "whole"),
    [
        ({}, False, False),
        ({"hasMore": True}, True, False),
        ({"has_more": False}, False, True),
        ({"total": 3}, True, False),
        ({"total": 2}, False, True),
        ({"pagination": {"totalPages": 4}}, True, False),
        ({"pages": {"next": None}, "last": True}, False, True),
    ],
)
def test_a_page_says_whether_there_are_more(around, more, whole):
    page = read_document(json.dumps({**around, "data": lines_of("ab")}).encode())
    assert (has_more(page), is_whole(page)) == (more, whole)


def test_the_cursor_is_the_servers_or_the_last_id():
    assert read_document(json.dumps({"data": lines_of("ab")}).encode()).next_cursor == "c1"
    assert read_document(json.dumps({"data": lines_of("ab"), "nextCursor": "x"}).encode()).next_cursor == "x"


@pytest.mark.parametrize(
    ("content", "may"),
    [
        (b'{"custom_id": "a"}\n{"custom_id": "b"}\n', False),
        (b'{"data": []}', True),
        (b"{\n", True),
        (b'{"data": [{"custom_id": "a"},\n{"custom_id": "b"}]}', True),
        (b" [\n", True),
        (b"\xef\xbb\xbf[1]", True),
        (b"", False),
        (b"no JSON", False),
    ],
)
def test_a_file_of_lines_is_not_read_as_a_whole(content, may, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert may_be_document(tmp_path / "file") is may


def archive(**members):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name.replace("_slash_", "/"), content)
    return made.getvalue()


def test_the_files_of_an_archive_become_one(tmp_path):
    packed, made = tmp_path / "packed", io.BytesIO()
    packed.write_bytes(archive(a="1", out_slash_b="2\n", __MACOSX_slash_c="not this"))
    assert is_zip(packed)
    assert unzip(packed, made, 100)
    assert made.getvalue().split() == [b"1", b"2"]
    assert not unzip(packed, io.BytesIO(), 1)


@pytest.mark.parametrize("change", [lambda whole: whole[:-30], lambda whole: whole[:31] + b"\xff" * 3 + whole[34:]])
def test_a_broken_archive_is_said_to_be_one(change, tmp_path):
    packed = tmp_path / "packed"
    packed.write_bytes(change(archive(a="1")))
    with pytest.raises(ValueError, match=r"zip|CRC|decompress"):
        unzip(packed, io.BytesIO(), 100)
