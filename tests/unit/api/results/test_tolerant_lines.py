import json
from typing import Any

import pytest

from greennode_batch.api.results.result_line import Anomaly, ResultLine
from greennode_batch.api.results.tolerant_lines import read_odd_line


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
    return read_odd_line(json.dumps(data, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "c1", "response": chat_body()},
        {"custom_id": "c1", "response": chat_body(), "error": None},
        {"custom_id": "c1", "body": chat_body()},
        {"custom_id": "c1", **chat_body()},
        {"customId": "c1", "response": {"body": chat_body()}},
        {"custom_id": "c1", "response": {"body": json.dumps(chat_body())}},
        {
            "custom_id": "c1",
            "response": {"body": chat_body(choices={"message": {"content": "yes"}, "finish_reason": "stop"})},
        },
        {
            "custom_id": "c1",
            "response": {"body": chat_body(choices={"0": {"message": {"content": "yes"}, "finish_reason": "stop"}})},
        },
        {"custom_id": "c1", "response": {"body": chat_body(choices=[{"text": "yes", "finish_reason": "stop"}])}},
        {"custom_id": "c1", "response": {"body": chat_body(choices=[{"text": "yes", "stop_reason": "stop"}])}},
        {
            "custom_id": "c1",
            "response": {"body": chat_body(choices=[{"text": "yes", "finish_reason": {"type": "stop", "matched": 2}}])},
        },
        {"custom_id": "c1", "response": {"body": chat_body(choices=[{"message": "yes", "finish_reason": "stop"}])}},
        {
            "custom_id": "c1",
            "response": {
                "body": chat_body(
                    usage={
                        "input_tokens": 12,
                        "output_tokens": "3",
                        "input_tokens_details": {"cached_tokens": 8},
                        "output_tokens_details": {"reasoning_tokens": 2},
                    }
                )
            },
        },
        {"custom_id": "c1", "response": {"body": chat_body(created="2025-06-15T15:06:40Z")}},
        {"custom_id": "c1", "response": {"body": chat_body(created=1_750_000_000_000)}},
        {"custom_id": "c1", "response": {"body": chat_body()}, "error": {}},
        {"custom_id": "c1", "response": {"body": chat_body()}, "error": {"code": None, "message": None}},
    ],
)
def test_other_shapes_hold_the_same_answer(line):
    expected = ResultLine("c1", None, None, None, None, "yes", None, None, "stop", "m", 12, 3, 8, 2, 1_750_000_000.0)
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("content", "text", "reasoning", "refusal"),
    [
        (None, None, None, None),
        ("", "", None, None),
        ([], None, None, None),
        ([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}], "yes", None, None),
        (["y", "es"], "yes", None, None),
        ({"type": "text", "text": "yes"}, "yes", None, None),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}],
            "yes",
            "hm",
            None,
        ),
        ([{"type": "refusal", "refusal": "no"}], None, None, "no"),
        ([None, 3, {"type": "image"}], None, None, None),
    ],
)
def test_content_may_be_null_or_parts(content, text, reasoning, refusal):
    read = parse(result(chat_body(choices=[{"message": {"content": content}, "finish_reason": "stop"}])))
    assert isinstance(read, ResultLine)
    assert (read.content, read.reasoning, read.refusal, read.error) == (text, reasoning, refusal, None)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_details"])
@pytest.mark.parametrize(
    "thinking", [[{"type": "reasoning.text", "text": "hm"}], {"text": "hm"}, {"a": 1}, [None, 3], 3]
)
def test_thinking_in_parts_costs_no_answer(field, thinking):
    read = parse(result(chat_body(choices=[{"message": {"content": "yes", field: thinking}, "finish_reason": "stop"}])))
    assert (read.content, read.error) == ("yes", None)


CALL = {"id": "call_1", "type": "function", "function": {"name": "label", "arguments": '{"label": "a"}'}}


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ({"tool_calls": [CALL]}, [("label", '{"label": "a"}')]),
        ({"content": "", "tool_calls": [CALL, CALL]}, [("label", '{"label": "a"}')] * 2),
        ({"tool_calls": [{"function": {"name": "label", "arguments": {"label": "é"}}}]}, [("label", '{"label": "é"}')]),
        ({"tool_calls": [{"name": "label", "input": {"label": "a"}}]}, [("label", '{"label": "a"}')]),
        ({"tool_calls": {"name": "label"}}, [("label", "{}")]),
        ({"tool_calls": [], "function_call": CALL["function"]}, [("label", '{"label": "a"}')]),
        ({"function_call": {"name": "label", "arguments": "oops"}}, [("label", "oops")]),
        ({"toolCalls": [{"function": {"arguments": [1]}}]}, [("", "[1]")]),
        ({"content": "yes", "tool_calls": None}, []),
        ({"content": "yes", "tool_calls": ["label", None, {"function": "label"}]}, []),
        ({"content": "yes", "function_call": "auto"}, []),
    ],
)
def test_calls_of_tools_are_read_whatever_their_shape(message, calls):
    read = parse(result(chat_body(choices=[{"message": message, "finish_reason": "tool_calls"}])))
    assert [(call.name, call.arguments) for call in read.tool_calls] == calls
    assert (read.content, read.error) == (message.get("content"), None)


@pytest.mark.parametrize(
    ("line", "status", "code", "error"),
    [
        (
            {"response": None, "error": {"code": "batch_expired", "message": "too late"}},
            None,
            "batch_expired",
            "too late",
        ),
        ({"response": None, "error": "too late"}, None, None, "too late"),
        ({"error": {"message": "too late"}}, None, None, "too late"),
        (
            {"response": {"status_code": 429, "body": {"error": {"message": "slow down", "code": "rate_limit"}}}},
            429,
            "rate_limit",
            "slow down",
        ),
        ({"response": {"status_code": 400, "body": {"message": "no model"}}}, 400, None, "no model"),
        ({"response": {"status_code": 422, "body": {"detail": "no model"}}}, 422, None, "no model"),
        ({"response": {"status_code": 502, "body": "<html>bad</html>"}}, 502, None, "<html>bad</html>"),
        ({"response": {"status_code": "500", "body": None}}, 500, None, "HTTP 500"),
        ({"response": {"status_code": 0, "body": {}}}, 0, None, "no answer in the response (status 0)"),
        ({"response": {"status_code": 200, "body": {"error": {"message": "overloaded"}}}}, 200, None, "overloaded"),
        (
            {"response": {"status_code": 200, "body": {"choices": []}}},
            200,
            None,
            "no answer in the response (status 200)",
        ),
        ({"response": {"error": {"message": "overloaded", "code": 503}}}, None, "503", "overloaded"),
        ({"response": {}}, None, None, "no answer in the response (status None)"),
        ({}, None, None, "no answer in the response (status None)"),
        ({"response": [], "status_code": 403}, 403, None, "HTTP 403"),
    ],
)
def test_a_request_without_an_answer_says_why(line, status, code, error):
    read = parse({"custom_id": "c1"} | line)
    assert isinstance(read, ResultLine)
    assert (read.custom_id, read.status_code, read.code, read.error) == ("c1", status, code, error)
    assert read.content is None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"", "blank"),
        (b" \t\r", "blank"),
        (b'{"custom_id": "c1", "resp', "not_json"),
        (b"<html>502</html>", "not_json"),
        (b"[1]", "not_object"),
        (b"null", "not_object"),
        (b'"text"', "not_object"),
        (b'{"response": {}}', "no_custom_id"),
        (b'{"custom_id": "", "response": {}}', "no_custom_id"),
        (b'{"custom_id": null, "response": {}}', "no_custom_id"),
        (b'{"error": {"message": "file expired"}}', "file_error"),
        (b'{"message": "file expired"}', "file_error"),
        (b'{"id": "b", "custom_id": null, "response": null, "error": {"message": "file expired"}}', "file_error"),
    ],
)
def test_a_line_of_no_request_is_an_anomaly(line, kind):
    read = read_odd_line(line)
    assert isinstance(read, Anomaly)
    assert read.kind == kind


def test_an_error_for_the_whole_file_keeps_its_message():
    assert read_odd_line(b'{"error": {"message": "file expired"}}') == Anomaly("file_error", "file expired")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_line_with_a_bom_or_in_utf_16_is_read(encoding):
    line = json.dumps(result(chat_body(choices=[{"message": {"content": "tiếng Việt"}}])), ensure_ascii=False)
    assert read_odd_line(line.encode(encoding)).content == "tiếng Việt"


def test_a_broken_byte_costs_a_character_and_not_the_answer():
    line = json.dumps(result(chat_body())).encode().replace(b"yes", b"y\xffs")
    assert read_odd_line(line).content == "y\ufffds"


def test_a_lone_surrogate_becomes_a_character_that_can_be_stored():
    line = json.dumps(result(chat_body())).encode().replace(b"yes", rb"y\ud83d")
    assert read_odd_line(line).content == "y\ufffd"


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b"1" * 5000], ids=["NaN", "-Infinity", "5000 digits"])
def test_numbers_outside_json_do_not_cost_the_line(value):
    line = json.dumps(result(chat_body())).encode().replace(b"1750000000", value)
    assert (read_odd_line(line).custom_id, read_odd_line(line).content) == ("c1", "yes")


def test_a_very_deep_line_is_not_json():
    assert read_odd_line(b"[" * 100_000).kind == "not_json"
    assert read_odd_line(b'{"custom_id":' * 100_000).kind == "not_json"


@pytest.mark.parametrize("number", [10**400, -(10**400), 10**30, -1])
def test_a_number_that_no_column_holds_costs_neither_the_line_nor_the_answer(number):
    usage = {"prompt_tokens": number, "completion_tokens": 3}
    for body in (chat_body(created=number), chat_body(created=str(number), usage=usage)):
        for line in (result(body), {"custom_id": "c1", "status_code": number, "body": body}):
            parsed = parse(line)
            assert isinstance(parsed, ResultLine)
            assert (parsed.custom_id, parsed.content) == ("c1", "yes")


@pytest.mark.parametrize("depth", range(100, 1000, 50))
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"content":', "}"), ('[{"text":', "}]")])
def test_an_answer_of_parts_within_parts_ends_whatever_its_depth(depth, opened, closed):
    line = '{"custom_id":"c1","response":{"body":{"choices":[{"message":{"content":%s"x"%s}}]}}}'
    parsed = read_odd_line((line % (opened * depth, closed * depth)).encode())
    assert isinstance(parsed, Anomaly) or parsed.custom_id == "c1"


@pytest.mark.parametrize("error", [" ", "\n", "\x1f", {"message": " "}, {"error": "x", "message": " "}])
def test_an_error_that_says_nothing_still_reads_as_something(error):
    parsed = parse({"custom_id": "c1", "error": error})
    assert isinstance(parsed, ResultLine)
    assert parsed.error


def test_a_line_and_a_body_that_are_wrapped_are_read():
    body = {"code": 0, "message": "success", "data": {"choices": [{"message": {"content": "yes"}}]}}
    line = {"data": {"customId": "r1", "response": {"statusCode": 200, "body": body}}}
    result = read_odd_line(json.dumps(line).encode())
    assert (result.custom_id, result.status_code, result.content, result.error) == ("r1", 200, "yes", None)


def test_a_status_in_camel_case_beside_an_error_is_read():
    result = read_odd_line(b'{"customId": "r1", "statusCode": 429, "error": "too many"}')
    assert (result.status_code, result.error) == (429, "too many")


@pytest.mark.parametrize(
    ("wordless", "line"),
    [
        (True, result({})),
        (True, result(None)),
        (True, result({"output": {"text": "yes"}})),
        (True, {"custom_id": "c1", "response": None, "error": None}),
        (True, {"custom_id": "c1", "response": {"code": 0, "message": "success", "data": {"choices": []}}}),
        (True, {"custom_id": "c1", "code": 0, "message": "Success", "data": {"text": "yes"}}),
        (False, result(chat_body())),
        (False, result(None, status=500)),
        (False, result({}, error={"message": "no room"})),
        (False, {"custom_id": "c1", "response": {"code": 1001, "message": "no such model"}}),
        (False, result({"message": "ok"}, status=429)),
    ],
)
def test_a_line_without_an_answer_and_without_a_word_of_the_server_is_known_as_such(wordless, line):
    parsed = parse(line)
    assert isinstance(parsed, ResultLine)
    assert parsed.is_wordless == wordless
