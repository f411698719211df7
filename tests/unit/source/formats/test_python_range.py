import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greennode_batch.source.formats.python_range import first_beyond

INT64 = st.integers(-(2**63), 2**63 - 1)
EDGES = st.sampled_from([-62_135_596_800, 253_402_300_799]).flatmap(lambda at: st.integers(at - 90_000, at + 90_000))
TYPES = [
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us") for zone in (None, "UTC", "Asia/Tokyo", "America/Lima")),
    *(pa.duration(unit) for unit in ("s", "ms", "us")),
    pa.date32(),
    pa.date64(),
]


def python_holds(value):
    try:
        value.as_py()
    except (OverflowError, ValueError):
        return False
    return True


@pytest.mark.parametrize("arrow", TYPES, ids=str)
@example(values=[None])
@given(values=st.lists(st.none() | INT64 | EDGES, max_size=4))
def test_the_first_value_that_python_cannot_hold_is_found(arrow, values):
    per_second = {"s": 1, "ms": 10**3, "us": 10**6}.get(getattr(arrow, "unit", "ms"))
    if arrow == pa.date32():
        ticks = [None if value is None else value // 86_400 % 2**31 for value in values]
    else:
        ticks = [value if value is None or abs(value) > 2**41 else value * per_second for value in values]
    array = pa.array(ticks, pa.int32() if arrow == pa.date32() else pa.int64()).cast(arrow, safe=False)
    expected = next((index for index, value in enumerate(array) if not python_holds(value)), None)
    assert first_beyond(array) == expected
    nested = pa.array([None if one is None else [one] for one in array.cast(array.type)], pa.list_(arrow))
    assert first_beyond(nested) == expected


@pytest.mark.parametrize("arrow", [pa.int64(), pa.string(), pa.list_(pa.int64()), pa.time64("us"), pa.timestamp("ns")])
def test_values_of_other_types_are_never_beyond(arrow):
    assert first_beyond(pa.array([None, None], arrow)) is None
