import msgspec
import pytest

from greennode_batch.api.results.normal_shape import in_normal_shape
from greennode_batch.api.results.result_line import Anomaly
from greennode_batch.api.results.result_lines import parse_line

COMPLETION = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7}}


def read(data, **paths):
    return parse_line(in_normal_shape(msgspec.json.encode(data), paths))


def test_an_answer_and_an_id_at_other_places_are_read():
    result = read({"data": {"reference": "r1", "output": COMPLETION}}, custom_id="data.reference", body="data.output")
    assert (result.custom_id, result.content, result.error, result.prompt_tokens) == ("r1", "yes", None, 7)


def test_an_answer_that_is_no_chat_completion_is_read_by_its_parts():
    result = read(
        {"key": "r1", "text": "yes", "why": "length", "tokens": [3, 5]},
        custom_id="key",
        content="text",
        finish_reason="why",
        prompt_tokens="tokens.0",
        completion_tokens="tokens.1",
    )
    assert (result.content, result.finish_reason) == ("yes", "length")
    assert (result.prompt_tokens, result.completion_tokens) == (3, 5)


def test_an_error_keeps_its_words_and_its_status():
    line = {"key": "r1", "http": 429, "failure": {"message": "too many", "code": "busy"}}
    result = read(line, custom_id="key", status_code="http", error="failure", body="output")
    assert (result.custom_id, result.status_code, result.error, result.code) == ("r1", 429, "too many", "busy")


def test_a_part_without_a_path_is_read_where_it_usually_is():
    line = {"ref": "r1", "response": {"status_code": 200, "body": COMPLETION}}
    assert read(line, custom_id="ref").content == "yes"


@pytest.mark.parametrize("line", [b"no json", b"[1]", b'{"other": 1}', b"\xff", b""])
def test_a_line_that_has_no_id_at_its_path_is_left_to_the_lenient_reader(line):
    assert in_normal_shape(line, {"custom_id": "data.key"}) == line
    assert isinstance(parse_line(line), Anomaly)
