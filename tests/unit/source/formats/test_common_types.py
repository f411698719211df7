import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.source.formats.common_types import common_type, plain_type

TYPES = [
    pa.null(), pa.bool_(), pa.int8(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64(), pa.float32(), pa.float64(),
    pa.string(), pa.date32(), pa.time64("us"), pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ms", "Asia/Tokyo"),
    pa.timestamp("us", "UTC"), pa.decimal128(10, 2), pa.decimal128(38, 0), pa.binary(), pa.list_(pa.int64()),
]  # fmt: skip


@given(st.sampled_from(TYPES), st.sampled_from(TYPES))
def test_the_order_of_the_files_does_not_matter(one, other):
    assert common_type(one, other) == common_type(other, one)


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations([pa.int8(), pa.int64(), pa.uint8(), pa.uint64()], 2))
)
def test_integers_of_any_kind_are_held_as_they_are(one, other):
    common = common_type(one, other)
    for kind in (one, other):
        bits = kind.bit_width - (not str(kind).startswith("u"))
        assert pa.array([2**bits - 1], kind).cast(common)[0].as_py() == 2**bits - 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.float64()),
        (pa.int64(), pa.string()),
        (pa.int64(), pa.bool_()),
        (pa.string(), pa.binary()),
        (pa.date32(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
    ],
)
def test_where_a_value_would_become_another_one_there_is_no_common_type(one, other):
    assert common_type(one, other) is None


def test_a_column_that_is_null_throughout_one_file_has_the_others_type():
    assert common_type(pa.null(), pa.decimal128(10, 2)) == pa.decimal128(10, 2)
    assert common_type(pa.null(), pa.null()) == pa.null()


def test_moments_of_different_zones_are_moments_in_utc_of_the_finer_unit():
    assert common_type(pa.timestamp("ms", "Asia/Tokyo"), pa.timestamp("us", "Europe/Paris")) == pa.timestamp(
        "us", "UTC"
    )
    tokyo = pa.timestamp("us", "Asia/Tokyo")
    assert common_type(tokyo, tokyo) == tokyo


@pytest.mark.parametrize(
    "stored", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string()), pa.string()]
)
def test_texts_are_of_one_type_however_they_are_stored(stored):
    assert plain_type(stored) == pa.string()


def test_the_type_of_a_category_is_that_of_its_values():
    assert plain_type(pa.dictionary(pa.int8(), pa.int64())) == pa.int64()
