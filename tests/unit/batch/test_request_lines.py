import hashlib
import json
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.request_lines import RequestTemplate, line_fields
from greennode_batch.build.source import Rows
from greennode_batch.errors import ConfigError, RowError


def template(messages=None, profile=None, **params):
    return RequestTemplate(
        model="model",
        messages=messages or [{"role": "user", "content": "{{ text }}"}],
        params=params,
        columns=["text"],
        line_fields=line_fields(profile or ApiProfile()),
    )


class Line(NamedTuple):
    custom_id: str
    line: bytes


def line_of(text, **options):
    made = template(**options).requests(batch_of(text))
    return Line(made.custom_ids[0], made.lines[0])


def batch_of(*texts):
    return next(Rows.from_tuples(["text"], [[(text,) for text in texts]]).batches)


@given(st.text())
def test_a_line_is_json_of_the_request_and_ends_in_the_only_newline(text):
    custom_id, line = line_of(text, max_tokens=5)
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    body = {"model": "model", "messages": [{"role": "user", "content": text}], "max_tokens": 5}
    assert json.loads(line) == {"custom_id": custom_id, "body": body}


@given(st.text())
def test_the_id_is_the_hash_of_the_body_as_it_is_sent(text):
    custom_id, line = line_of(text)
    body = line[line.index(b'"body":') + len(b'"body":') : -2]
    assert custom_id == hashlib.blake2b(body, digest_size=16).hexdigest()
    assert len(custom_id) == 32


@given(st.text(), st.text())
def test_requests_are_equal_exactly_where_their_ids_are(one, other):
    assert (line_of(one).custom_id == line_of(other).custom_id) == (one == other)


def test_another_model_or_parameter_is_another_request():
    ids = {line_of("x").custom_id, line_of("x", temperature=0).custom_id, line_of("x", temperature=1).custom_id}
    assert len(ids) == 3


def test_line_separators_are_escaped_in_texts_and_in_parameters():
    _, line = line_of("a\u2028b\u2029c\u0085d", stop=["\u2028\u0085"])
    assert b"\\u2028" in line
    assert b"\\u2029" in line
    assert not any(raw.encode() in line for raw in "\u2028\u2029\u0085")
    assert json.loads(line)["body"]["stop"] == ["\u2028\u0085"]


def test_half_a_surrogate_pair_is_a_row_error():
    with pytest.raises(RowError, match="surrogate pair at character 2"):
        line_of("ab\ud800")


@pytest.mark.parametrize("value", [object(), "\ud800"])
def test_a_parameter_that_is_no_json_is_a_config_error(value):
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        template(user=value)


def test_greennode_gets_the_id_and_the_body_alone():
    assert list(json.loads(line_of("x").line)) == ["custom_id", "body"]


def test_openai_gets_method_and_url_too():
    line = line_of("x", profile=ApiProfile(line_format="custom_id+method+url+body")).line
    parsed = json.loads(line)
    assert list(parsed) == ["custom_id", "method", "url", "body"]
    assert (parsed["method"], parsed["url"]) == ("POST", "/v1/chat/completions")


def test_the_id_does_not_depend_on_the_line_format():
    assert line_of("x").custom_id == line_of("x", profile=ApiProfile(line_format="custom_id+method+url+body")).custom_id


def test_every_message_is_rendered_in_its_place():
    messages = [
        {"role": "system", "content": "Be {{ text }}."},
        {"role": "user", "content": "example"},
        {"role": "assistant", "content": "\x00slot 0\x00"},
        {"role": "user", "content": "{{ text | upper }}"},
    ]
    said = json.loads(line_of("brief", messages=messages).line)["body"]["messages"]
    assert [message["content"] for message in said] == ["Be brief.", "example", "\x00slot 0\x00", "BRIEF"]
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]


def test_a_content_of_parts_is_refused():
    with pytest.raises(ConfigError, match="content must be a text, not list"):
        template(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}])
