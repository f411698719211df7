import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.source.exact_json import exact_number, json_text, read_json

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False).map(abs)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(NUMBERS)
def test_a_number_is_read_with_all_its_digits(number):
    digits = f"{number:f}"
    assert Decimal(str(exact_number(f"{digits}.0" if "." not in digits else digits))) == number


@given(DOCUMENTS)
def test_a_document_is_written_as_json_has_it_and_read_back(document):
    assert json_text(document) == json.dumps(document, ensure_ascii=False)
    assert json.loads(json_text(document)) == document == read_json(json.dumps(document))


@given(st.lists(NUMBERS | st.text("0\0", max_size=3), max_size=5))
def test_decimals_are_written_with_all_their_digits(values):
    assert json.loads(json_text({"a": values}), parse_float=Decimal, parse_int=Decimal)["a"] == values


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_what_json_has_no_number_for_is_a_text(number):
    assert json_text([Decimal(number)]) == f'["{number}"]'
