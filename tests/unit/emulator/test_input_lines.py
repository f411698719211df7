import json

import pytest

from greennode_emulator.input_lines import MAX_PROBLEMS, scan_file
from greennode_emulator.settings import Limits

MODELS = {"m", "other"}


def make_line(name, model="m", **more):
    return json.dumps({"custom_id": name, "body": {"model": model}, **more}).encode() + b"\n"


@pytest.fixture
def scan(tmp_path):
    def scan(content, **limits):
        path = tmp_path / "in.jsonl"
        path.write_bytes(content)
        return scan_file(path, endpoint="/v1/chat/completions", models=MODELS, limits=Limits(**limits))

    return scan


def test_both_forms_of_a_line_are_good(scan):
    content = make_line("a") + make_line("b", method="POST", url="/v1/chat/completions")
    found = scan(content)
    assert found.problems == ()
    assert (found.total, found.model) == (2, "m")
    assert [content[start:end] for start, end in zip(found.starts, found.starts[1:], strict=False)] == [
        make_line("a"),
        make_line("b", method="POST", url="/v1/chat/completions"),
    ]


def test_line_breaks_of_unicode_do_not_end_a_line(scan):
    line = '{"custom_id": "a", "body": {"model": "m", "x": "\u2028\u2029\x85"}}'.encode()
    found = scan(line)
    assert (found.total, found.problems) == (1, ())


@pytest.mark.parametrize(
    ("second", "code", "param"),
    [
        (b"{not json\n", "invalid_json_line", None),
        (b"\n", "invalid_json_line", None),
        (b'\xef\xbb\xbf{"custom_id": "b", "body": {"model": "m"}}\n', "invalid_json_line", None),
        (b'{"custom_id": "b", "body": {"model": "m", "x": "\xff"}}\n', "invalid_json_line", None),
        (b'{"body": {"model": "m"}}\n', "invalid_request", "custom_id"),
        (b'{"custom_id": "", "body": {"model": "m"}}\n', "invalid_request", "custom_id"),
        (b'{"custom_id": 7, "body": {"model": "m"}}\n', "invalid_request", "custom_id"),
        (b'{"custom_id": "b"}\n', "invalid_request", "body"),
        (b'{"custom_id": "b", "body": {}}\n', "invalid_request", "model"),
        (make_line("a"), "duplicate_custom_id", "custom_id"),
        (make_line("b", model="other"), "model_mismatch", "body.model"),
        (make_line("b", url="/v1/embeddings"), "url_mismatch", "url"),
        (make_line("b", method="GET"), "invalid_method", "method"),
    ],
)
def test_a_bad_line_is_named(scan, second, code, param):
    (problem,) = scan(make_line("a") + second + make_line("c")).problems
    assert (problem.code, problem.line, problem.param) == (code, 2, param)
    assert problem.message


def test_an_unknown_model_is_named(scan):
    (problem,) = scan(make_line("a", model="nobody")).problems
    assert problem.code == "model_not_found"
    assert "nobody" in problem.message


def test_an_empty_file_is_named(scan):
    assert [problem.code for problem in scan(b"").problems] == ["empty_file"]


def test_too_many_lines_are_named_with_the_limit(scan):
    lines = b"".join(make_line(str(number)) for number in range(4))
    assert scan(lines, max_lines=4).problems == ()
    (problem,) = scan(lines, max_lines=3).problems
    assert problem.code == "too_many_tasks"
    assert "3" in problem.message


def test_a_file_that_is_wrong_throughout_is_not_reported_to_the_end(scan):
    assert len(scan(b"x\n" * 1000).problems) == MAX_PROBLEMS
