import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.fields import count, epoch_seconds, identifier, pick, text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "value",
    [
        1_750_000_000,
        1_750_000_000.0,
        1_750_000_000_000,
        1_750_000_000_000_000,
        1_750_000_000_000_000_000,
        "1750000000",
        "1750000000000",
        "2025-06-15T15:06:40Z",
        "2025-06-15T15:06:40",
        "2025-06-15T22:06:40+07:00",
        "2025-06-15 15:06:40.000+00:00",
    ],
)
def test_a_time_is_the_same_in_every_notation(value):
    assert epoch_seconds(value) == 1_750_000_000


@pytest.mark.parametrize("value", [None, "", "soon", 0, -5, True, {}, [], "0001-01-01T00:00:00Z", float("nan"), "inf"])
def test_what_is_not_a_time_is_none(value):
    assert epoch_seconds(value) is None


@given(JSON)
def test_no_json_value_breaks_a_reader(value):
    for read in (epoch_seconds, count, identifier, text):
        read(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, 7), ("7", 7), (7.0, 7), ("x", None), (-1, None), (True, None), (None, None), (float("inf"), None)],
)
def test_a_count_is_a_whole_number_of_at_least_zero(value, expected):
    assert count(value) == expected


def test_an_empty_field_gives_way_to_the_next_name():
    assert (
        pick(
            {"output_file_id": "", "result_file_id": None, "outputFile": "file-9"},
            "output_file_id",
            "result_file_id",
            "output_file",
        )
        == "file-9"
    )


@pytest.mark.parametrize("value", ["f1", ["f1", "f2"], {"id": "f1"}, [{"id": "f1"}]])
def test_an_id_may_be_text_an_object_or_in_a_list(value):
    assert identifier(value) == "f1"


@pytest.mark.parametrize("value", [10**400, -(10**400), 2**63, 1e30, "1e30", "9" * 400])
def test_a_count_that_no_column_holds_is_none(value):
    assert count(value) is None
