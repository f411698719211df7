import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.results.result_lines import Anomaly, ResultLine, ends_with_newline, iter_lines, parse_line
from greennode_batch.api.results.tolerant_lines import read_odd_line

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TOKENS = st.integers(0, 10**6)


def chat_body(**changes: Any) -> dict[str, Any]:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    return body | changes


def result(body: object, *, status: object = 200, **line: object) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "req-1", "body": body}
    return {"id": "r", "custom_id": "c1", "response": response, "error": None} | line


def parse(data: object) -> ResultLine | Anomaly:
    return parse_line(json.dumps(data, ensure_ascii=False).encode())


WHOLE = ResultLine("c1", 200, "req-1", None, None, "yes", None, None, "stop", "m", 12, 3, 8, 2, 1_750_000_000.0)


def test_a_line_in_openais_shape_is_read_in_full():
    assert parse(result(chat_body())) == WHOLE


@given(
    content=st.none() | TEXT,
    reasoning=st.none() | TEXT,
    refusal=st.none() | TEXT,
    usage=st.none() | st.fixed_dictionaries({"prompt_tokens": TOKENS, "completion_tokens": st.none() | TOKENS}),
    created=st.none() | st.integers(1, 10**10) | st.integers(10**12, 10**13),
    reason=st.sampled_from([None, "stop", "length", "content_filter"]),
    field=st.sampled_from(["reasoning", "reasoning_content"]),
)
def test_the_fast_way_and_the_tolerant_way_read_the_same(content, reasoning, refusal, usage, created, reason, field):
    message = {"role": "assistant", "content": content, "refusal": refusal, field: reasoning}
    choices = [{"message": message, "finish_reason": reason}]
    line = json.dumps(result(chat_body(choices=choices, usage=usage, created=created))).encode()
    assert parse_line(line) == read_odd_line(line)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_is_kept_apart_from_the_answer(field):
    read = parse(result(chat_body(choices=[{"message": {"content": "yes", field: "hm"}, "finish_reason": "stop"}])))
    assert (read.content, read.reasoning) == ("yes", "hm")


def test_an_answer_that_was_given_with_status_zero_is_kept():
    read = parse(result(chat_body(), status=0))
    assert (read.status_code, read.content, read.error) == (0, "yes", None)


def test_an_answer_under_an_error_status_is_an_error():
    assert parse(result(chat_body(), status=500)).error is not None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_lines_of_a_utf_16_file_are_read_although_they_are_cut_at_bytes(encoding):
    words = "".join(json.dumps(result(chat_body(), custom_id=f"c{n}")) + "\r\n" for n in range(3))
    lines = [line for line in iter_lines(io.BytesIO(words.encode(encoding))) if line.strip(b"\x00")]
    assert [(line.custom_id, line.content) for line in map(parse_line, lines)] == [(f"c{n}", "yes") for n in range(3)]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_exception_and_as_the_tolerant_way_reads_them(line):
    assert parse_line(line) == read_odd_line(line)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["custom_id", "response", "body", "error", "choices", "message", "content", "usage", "text"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    ),
)
def test_any_json_is_read_without_an_exception(data):
    read = parse({"custom_id": "c1", **data} if isinstance(data, dict) else data)
    assert isinstance(read, ResultLine | Anomaly)
    if isinstance(read, ResultLine):
        json.dumps(read.content).encode()


@given(st.lists(st.binary(max_size=50)), st.integers(1, 7))
def test_the_lines_joined_are_the_file_without_line_ends(parts, chunk):
    data = b"\n".join(parts)
    expected = [line for line in (part.rstrip(b"\r") for part in data.split(b"\n")) if line]

    class SmallReads(io.BytesIO):
        def read(self, size=-1):
            return super().read(chunk)

    assert list(iter_lines(SmallReads(data))) == list(iter_lines(io.BytesIO(data))) == expected


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_line(separator):
    data = f'{{"a": "x{separator}y"}}\n'.encode()
    assert list(iter_lines(io.BytesIO(data))) == [data[:-1]]


@pytest.mark.parametrize(
    ("data", "whole"),
    [(b"", True), (b"a\n", True), (b"a\n\n", True), (b"a", False), (b"a\nb", False), (b"a\n\r", False)],
)
def test_it_is_told_whether_the_last_line_was_ended(data, whole):
    assert ends_with_newline(io.BytesIO(data)) is whole


def test_lines_can_be_taken_one_by_one():
    lines = iter_lines(io.BytesIO(b"a\r\n\nb"))
    assert (next(lines), next(lines), next(lines, None)) == (b"a", b"b", None)


def test_a_line_larger_than_a_chunk_comes_whole():
    line = b"x" * 3_000_000
    assert list(iter_lines(io.BytesIO(b"a\n" + line + b"\nb\n"))) == [b"a", line, b"b"]


def test_memory_stays_flat_over_a_large_file():
    read = 0

    class Endless(io.RawIOBase):
        def read(self, size=-1):
            nonlocal read
            read += 1
            return b"x" * 99 + b"\n" if read <= 10_000 else b""

    lines = iter_lines(Endless())
    next(lines)
    assert read <= 2
    assert sum(1 for _ in lines) == 9_999
