import pytest

from greennode_emulator.reshaping import camel_fields, moved, put, sealed


def test_names_are_camel_case_down_to_a_depth():
    reply = {"custom_id": 1, "a": {"status_code": 2, "body": {"finish_reason": 3}}, "b_2": [{"x_y": 4}]}
    inner = {"statusCode": 2, "body": {"finish_reason": 3}}
    assert camel_fields(reply, depth=2) == {"customId": 1, "a": inner, "b2": [{"x_y": 4}]}
    assert camel_fields(reply)["a"] == reply["a"]


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ({}, {"id": 1, "a": {"b": 2, "c": None}}),
        ({"a.c": "c"}, {"id": 1, "a": {"b": 2}, "c": None}),
        ({"a.b": "a", "a.c": "c"}, {"id": 1, "a": 2, "c": None}),
        ({"id": "a.id", "a.b": "id"}, {"id": 2, "a": {"id": 1, "c": None}}),
        ({"id": "id.of.it"}, {"id": {"of": {"it": 1}}, "a": {"b": 2, "c": None}}),
        ({"none": "x", "id.inner": "y", "a.none.b": "z"}, {"id": 1, "a": {"b": 2, "c": None}}),
    ],
)
def test_values_move_by_dotted_paths(moves, expected):
    reply = {"id": 1, "a": {"b": 2, "c": None}}
    assert moved(reply, moves) == expected
    assert reply == {"id": 1, "a": {"b": 2, "c": None}}


def test_a_value_is_put_where_there_was_no_object():
    reply = {"a": 1}
    put(reply, "a.b.c", 2)
    assert reply == {"a": {"b": {"c": 2}}}


def test_what_is_sealed_shows_nothing():
    assert "secret" not in str(sealed({"custom_id": "secret"}))
