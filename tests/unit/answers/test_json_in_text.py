import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.answers.json_in_text import json_in_text, unwrapped

LETTERS = st.characters(exclude_categories=["Cs"])
PROSE = st.text(st.characters(exclude_characters='{}[]"', exclude_categories=["Cs"]), max_size=30)
INNER = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(LETTERS, max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=4), inner, max_size=3),
    max_leaves=6,
)
VALUES = st.dictionaries(st.text(LETTERS, max_size=4), INNER, max_size=3) | st.lists(
    st.none() | st.booleans() | st.integers() | st.text(LETTERS, max_size=6), max_size=3
)


def parsed(text):
    """The values of those texts that are JSON, in their order."""
    values = []
    for one in json_in_text(text):
        try:
            values.append(json.loads(one, strict=False))
        except ValueError:
            continue
    return values


@given(PROSE, st.lists(st.tuples(VALUES, PROSE), min_size=1, max_size=4), st.booleans())
def test_every_value_among_prose_is_found_whole_and_the_last_one_first(before, parts, ascii_only):
    text = before
    for value, after in parts:
        # A letter in between: two texts that touch may be one.
        text += f" x {json.dumps(value, ensure_ascii=ascii_only)} x {after}"
    wholes = [json.dumps(value, ensure_ascii=ascii_only) for value, _ in reversed(parts)]
    found = [one for one in json_in_text(text) if one in wholes]
    assert list(dict.fromkeys(found)) == list(dict.fromkeys(wholes))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1}',
        '{"a": oops, "b": [{"c": 1}',
        'I would say {"a": "never closed}',
        "a {placeholder} is none, nor is [a list] of words",
        "",
    ],
)
def test_a_part_of_what_is_never_closed_is_no_value_and_words_in_brackets_are_prose(text):
    assert parsed(text) == []


def test_a_bracket_within_a_string_closes_nothing():
    assert parsed('So: {"a": "} \\" ]"}.') == [{"a": '} " ]'}]


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        ('[{"a": 1}]', ['{"a": 1}']),
        ('{"x": {"y": [5]}}', ['{"y": [5]}', "[5]", "5"]),
        ('{"x": "{\\"a\\": 1}"}', ['"{\\"a\\": 1}"', '{"a": 1}']),
        ('{"name": "f", "arguments": {"a": 1}}', ['{"a": 1}']),
        ('{"name": "f", "parameters": "{\\"a\\": 1}"}', ['"{\\"a\\": 1}"', '{"a": 1}']),
        ('{"a": {"x": 1}}', []),
        ('"a" and "b"', []),
        ("5", []),
    ],
)
def test_what_is_all_that_stands_in_a_wrapper_is_found_unless_the_wrapper_is_a_name(value, inside):
    assert [one.strip() for one in unwrapped(value, {"a"})] == inside


@given(st.text('{}[]":\\ a1,', max_size=40))
def test_unwrapping_ends_whatever_was_written(text):
    assert all(isinstance(one, str) for one in unwrapped(text, {"a"}))


@pytest.mark.parametrize("fence", ["```", "~~~"])
def test_what_stands_in_a_fence_is_found_though_it_is_neither_object_nor_list(fence):
    assert parsed(f"{fence}json\n5\n{fence}\nor\n{fence}\n6\n{fence}") == [6, 5]


@pytest.mark.parametrize("text", ['"{\\"a\\": 1}"', '```\n"{\\"a\\": 1}"\n```', '"Sure: {\\"a\\": 1}"'])
def test_json_that_was_written_as_a_string_is_read_out_of_it(text):
    assert {"a": 1} in parsed(text)


@pytest.mark.parametrize("odd", ["\ufeff", "\xa0", "\u200b", "\u2028", "\u2029", "\u3000"])
def test_an_odd_space_is_mended_between_strings_and_stays_within_them(odd):
    assert parsed(f'{{{odd}"a":{odd}"b{odd}c"}}') == [{"a": f"b{odd}c"}]


def test_a_line_end_within_a_string_is_escaped():
    mended = list(json_in_text('Look: {"a": "one\ntwo"}'))[1]
    assert json.loads(mended) == {"a": "one\ntwo"}


@given(st.text('{}[]"\\`~\n a1:,\xa0', max_size=60))
def test_it_ends_whatever_was_written(text):
    assert all(isinstance(one, str) for one in json_in_text(text))


@pytest.mark.parametrize("unit", ["{", '["', "[1]", "```\n", '"\\', '{"a":'])
def test_all_texts_of_a_long_answer_are_found_in_linear_time(unit, assert_linear):
    texts = {size: unit * (size // len(unit)) for size in (6_250, 100_000)}
    assert_linear(lambda size: sum(1 for _ in json_in_text(texts[size])), 100_000)
