import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.error_body import MAX_MESSAGE_CHARS, describe, parse_error

NGINX = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body></html>"


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (
            {"error": {"message": "no such model", "code": "model_not_found", "type": "invalid"}},
            "no such model",
            "model_not_found",
        ),
        ({"error": {"message": "no such model", "type": "invalid", "code": None}}, "no such model", "invalid"),
        ({"error": "no such model"}, "no such model", None),
        ({"error": "Bad Request", "message": "no such model"}, "no such model", "Bad Request"),
        ({"message": "Gateway Auth Unavailable"}, "Gateway Auth Unavailable", None),
        ({"code": 20012, "message": "no such model", "data": None}, "no such model", "20012"),
        ({"detail": "Not Found"}, "Not Found", None),
        (
            {"detail": [{"loc": ["body", "model"], "msg": "Field required", "type": "missing"}]},
            "body.model: Field required",
            "missing",
        ),
        ({"data": [{"code": "bad", "line": 7, "message": "not JSON"}]}, "line 7: not JSON", "bad"),
        ([{"message": "no such model", "count": 3}], "no such model (3 times)", None),
        ({"errors": ["a", "b", "a"]}, "a; b", None),
        ({"error": {"error": {"message": "deep"}}}, "deep", None),
        (
            {"object": "error", "message": "no such model", "type": "BadRequestError", "code": 400},
            "no such model",
            "400",
        ),
    ],
)
def test_the_message_and_code_are_found_in_every_json_shape(body, message, code):
    assert parse_error(400, {}, json.dumps(body).encode())[:2] == (message, code)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (NGINX, "502 Bad Gateway"),
        (b"<h1>Service &amp; all <b>down</b></h1>", "Service & all down"),
        (b"upstream connect error\n or disconnect", "upstream connect error or disconnect"),
        (b"", "HTTP 502, with an empty body"),
        (b"{}", "HTTP 502, with a body that names no error"),
        (b"\xff\xfe\x00", "\ufffd\ufffd"),
    ],
)
def test_other_bodies_are_readable_too(body, message):
    assert parse_error(502, {}, body) == (message, None, None)


@pytest.mark.parametrize("headers", [{"X-Request-ID": "r1"}, {"x-kong-request-id": "r1"}, {"request-id": "r1"}])
def test_the_request_id_comes_from_the_headers(headers):
    assert parse_error(500, headers, b"")[2] == "r1"


def test_the_request_id_may_be_in_the_body():
    assert parse_error(500, {}, b'{"message": "x", "request_id": "r2"}')[2] == "r2"


@given(st.binary(max_size=200))
def test_any_body_has_a_message_of_one_short_line(body):
    message, _, _ = parse_error(500, {}, body)
    assert message
    assert "\n" not in message
    assert len(message) <= MAX_MESSAGE_CHARS


def test_a_long_message_is_cut():
    assert len(parse_error(500, {}, b"x" * 10_000_000)[0]) == MAX_MESSAGE_CHARS


def test_a_deep_body_ends():
    body: object = "end"
    for _ in range(50):
        body = {"error": body}
    assert describe(body) == (None, None)


@pytest.mark.parametrize("char", ["\n", "\x1b", "\x00", "\x85", "\u2028"])
def test_no_part_of_an_error_holds_what_a_terminal_acts_on(char):
    odd = f"a{char}b"
    bodies = ({"message": odd, "code": odd, "request_id": odd}, {"code": odd, "request_id": odd}, odd)
    for body in bodies:
        parts = parse_error(500, {}, json.dumps(body, ensure_ascii=False).encode())
        assert all(part is None or part.isprintable() for part in parts), parts
    assert parse_error(500, {"cf-ray": char}, b"")[2] is None


def test_many_different_errors_are_read_in_linear_time_and_the_first_are_shown(assert_linear):
    def read(number):
        return parse_error(400, {}, json.dumps({"error": [f"error {n}" for n in range(number)]}).encode())

    assert_linear(read, 100_000)
    message, _, _ = read(100_000)
    assert message.startswith("error 0; error 1; ")
    assert message.endswith("…")


@pytest.mark.parametrize("page", [b"<title>", b"<style>", b"<script", b"<"])
def test_a_page_of_megabytes_is_read_in_linear_time(page, assert_linear):
    def read(number):
        message, _, _ = parse_error(502, {}, page * number)
        assert message

    assert_linear(read, 200_000)


@pytest.mark.parametrize("depth", range(100, 1000, 10))
def test_a_place_of_any_depth_is_read(depth):
    body = b'{"detail": [{"loc": ["body", %s%s], "msg": "Field required"}]}' % (b"[" * depth, b"]" * depth)
    message, _, _ = parse_error(422, {}, body)
    assert message.startswith(("body: Field required", '{"detail"'))


def test_a_message_that_was_cut_within_spaces_shows_that_it_was_cut():
    message, _, _ = parse_error(500, {}, b"a" + b" " * 3000 + b"b")
    assert message == "a…"
