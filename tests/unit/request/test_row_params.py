import datetime
import json
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import RowError
from greennode_batch.request.row_params import RowField
from greennode_batch.source.rows import Rows


def entries(*values, **params):
    batch = next(Rows.from_tuples(["limit"], [[(value,) for value in values]]).batches)
    return RowField("field", "limit", params).entries(batch)


def read(value):
    (entry,) = entries(value)
    return json.loads(b'{"before":0' + entry + b"}", parse_float=Decimal)["field"]


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.decimals(allow_nan=False, allow_infinity=False)
PLAIN = st.text() | st.booleans() | NUMBERS
JSON = st.recursive(PLAIN | st.none(), lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some))


@given(PLAIN | st.lists(JSON, max_size=3) | st.dictionaries(st.text(), JSON, max_size=3))
def test_numbers_texts_truth_and_documents_are_written_as_json_has_them(value):
    assert read(value) == value
    assert type(read(value)) is type(value) or isinstance(value, Decimal)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Decimal("0.20"), b"0.20"),
        (Decimal(200), b"200"),
        (datetime.date(2026, 1, 2), b'"2026-01-02"'),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), b'"2026-01-02T03:04:05Z"'),
        (uuid.UUID(int=7), b'"00000000-0000-0000-0000-000000000007"'),
        ("a\u2028b", b'"a\\u2028b"'),
        (False, b"false"),
    ],
)
def test_a_value_is_written_so(value, written):
    assert entries(value) == [b',"field":' + written]


def test_null_leaves_the_field_as_params_have_it_or_out():
    assert entries(None, 3) == [b"", b',"field":3']
    assert entries(None, 3, field=[1]) == [b',"field":[1]', b',"field":3']


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "nan is not a number"),
        (float("inf"), "inf is not a number"),
        (Decimal("NaN"), "NaN is not a number"),
        ({"a": [float("-inf")]}, "-inf is not a number"),
        (b"x", "a bytes cannot be written as JSON"),
        ([memoryview(b"x")], "a memoryview cannot be written as JSON"),
        ("\ud800", "field from column limit"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_row_and_column(value, words):
    with pytest.raises(RowError, match=words) as caught:
        entries(1, None, value)
    assert caught.value.row == 2
    assert "field from column limit" in str(caught.value)
