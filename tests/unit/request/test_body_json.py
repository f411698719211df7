import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import RowError
from greennode_batch.request.body_json import encode, encode_texts, escape_line_separators

# Texts that are split where some servers split lines, among others.
TEXTS = st.text(st.sampled_from('ab"\\\n\r\u2028\u2029\u0085\x0b\x1c é') | st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXTS, max_size=5))
def test_a_text_is_the_same_in_a_json_string_and_ends_no_line_of_it(texts):
    encoded = encode_texts(texts)
    assert [json.loads(b'"' + one + b'"') for one in encoded] == texts
    assert all(len(one.decode().splitlines()) <= 1 for one in encoded)


@given(st.recursive(TEXTS | st.integers(-(2**53), 2**53), lambda inner: st.dictionaries(TEXTS, inner, max_size=3)))
def test_a_value_is_the_same_after_its_line_separators_are_escaped(value):
    escaped = escape_line_separators(encode(value))
    assert json.loads(escaped) == value
    assert len(escaped.decode().splitlines()) == 1


def test_half_of_a_surrogate_pair_is_named_by_its_row_and_character():
    with pytest.raises(RowError, match="surrogate pair at character 2: not UTF-8") as caught:
        encode_texts(["fine", "ab\ud800"])
    assert caught.value.row == 1
