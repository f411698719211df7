import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_emulator import scalars
from greennode_emulator.dice import Dice

whole = st.integers(-10_000, 10_000)


@given(st.binary(max_size=4), whole, st.integers(0, 500), st.booleans(), st.booleans())
def test_integers_lie_within_their_bounds(seed, low, width, above, under):
    schema = {
        "exclusiveMinimum" if above else "minimum": low,
        "exclusiveMaximum" if under else "maximum": low + width + 2,
    }
    value = scalars.integer(schema, Dice(seed))
    assert low + above <= value <= low + width + 2 - under


@given(st.binary(max_size=4), whole, st.integers(1, 50))
def test_integers_are_multiples(seed, low, step):
    value = scalars.integer({"minimum": low, "multipleOf": step}, Dice(seed))
    assert value >= low
    assert value % step == 0


@given(
    st.binary(max_size=4),
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.booleans(),
    st.booleans(),
)
def test_numbers_lie_within_their_bounds(seed, low, width, above, under):
    high = low + width
    schema = {"exclusiveMinimum" if above else "minimum": low, "exclusiveMaximum" if under else "maximum": high}
    value = scalars.number(schema, Dice(seed))
    assert low < value if above else low <= value
    assert value < high if under else value <= high


@given(st.binary(max_size=4), st.sampled_from([0.01, 0.5, 0.1, 2]))
def test_numbers_are_multiples(seed, step):
    value = scalars.number({"minimum": 1, "exclusiveMaximum": 9, "multipleOf": step}, Dice(seed))
    assert 1 <= value < 9
    assert math.isclose(value / step, round(value / step), abs_tol=1e-9)


@given(st.binary(max_size=4), st.integers(0, 80), st.integers(0, 40))
def test_strings_keep_to_their_length(seed, least, width):
    value = scalars.text({"minLength": least, "maxLength": least + width}, Dice(seed))
    assert least <= len(value) <= least + width
    assert value.rstrip() == value


@pytest.mark.parametrize("bound", [{"minimum": 5}, {"maximum": -5}, {"exclusiveMaximum": -5}])
def test_one_bound_is_enough(bound):
    assert scalars.integer(bound, Dice(b"x")) != 0
    assert scalars.number(bound, Dice(b"x")) != 0


@pytest.mark.parametrize(
    ("maker", "schema"),
    [
        (scalars.integer, {"minimum": 5, "maximum": 4}),
        (scalars.integer, {"minimum": 5, "maximum": 6, "multipleOf": 7}),
        (scalars.integer, {"multipleOf": 0.3}),
        (scalars.number, {"exclusiveMinimum": 1, "maximum": 1}),
        (scalars.number, {"minimum": 2, "maximum": 1}),
        (scalars.text, {"minLength": 5, "maxLength": 4}),
        (scalars.text, {"pattern": "^a{9}$", "maxLength": 4}),
        (scalars.text, {"pattern": "(?=a)a"}),
        (scalars.text, {"format": "uuid", "maxLength": 4}),
    ],
)
def test_bounds_that_leave_nothing_are_refused(maker, schema):
    with pytest.raises(scalars.UnsatisfiableError):
        maker(schema, Dice(b"x"))
