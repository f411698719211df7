import datetime
import json
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import fit, is_json, is_plain, kept_forms, settle, to_arrow, unify

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
SCALARS = {
    "bool": st.booleans(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9),
    "text": st.text(max_size=5),
    "date": st.dates(),
    "time": st.times(),
    "moment": st.integers(-(2**52), 2**52).map(lambda us: EPOCH + datetime.timedelta(microseconds=us)),
}


@pytest.mark.parametrize("kind", SCALARS)
@given(data=st.data())
def test_values_of_one_plain_type_are_kept_as_they_are(kind, data):
    values = data.draw(st.lists(st.none() | SCALARS[kind], min_size=1, max_size=5))
    array = to_arrow(values, "n")
    assert is_plain(array.type)
    assert array.to_pylist() == values


@example([EPOCH, -62_135_596_800_000_001])
@given(st.lists(st.none() | st.one_of(*SCALARS.values()) | st.lists(st.text(max_size=3), max_size=2), max_size=5))
def test_whatever_a_column_holds_it_has_one_plain_type_and_null_stays_null(values):
    array = to_arrow(values, "n")
    assert is_plain(array.type)
    assert [value is None for value in array.to_pylist()] == [value is None for value in values]


def test_a_time_of_day_keeps_its_zone():
    noon = datetime.time(12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=7)))
    assert to_arrow([noon, None], "n").to_pylist() == ["12:30:00+07:00", None]


@pytest.mark.parametrize("digits", ["0.1234567890123456789", "1E+400", "12345678901234567890.5"])
def test_a_number_in_json_keeps_its_digits(digits):
    assert to_arrow([{"a": [Decimal(digits), "x"]}], "n").to_pylist() == [f'{{"a": [{digits}, "x"]}}']


@pytest.mark.parametrize("moment", [EPOCH, EPOCH.date(), EPOCH.time()])
def test_a_number_beside_a_date_or_a_time_is_no_date(moment):
    assert to_arrow([moment, 7, None], "n").to_pylist() == [str(moment), "7", None]
    assert to_arrow([moment, Decimal("7.5")], "n").to_pylist() == [str(moment), "7.5"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"é": [1, None, Decimal("1.5")]}, '{"é": [1, null, 1.5]}'),
        (["a", datetime.date(2026, 1, 31)], '["a", "2026-01-31"]'),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (2**80, "1208925819614629174706176"),
    ],
)
def test_what_sql_has_no_plain_type_for_is_text(value, text):
    array = to_arrow([None, value], "n")
    assert array.type == pa.string()
    assert array.to_pylist() == [None, text]


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_are_refused_by_the_columns_name(value):
    with pytest.raises(ConfigError, match="column image holds bytes; encode it as text"):
        to_arrow([None, value], "image")


def test_moments_with_offsets_of_their_own_have_one_type():
    zones = [datetime.timezone(datetime.timedelta(hours=hours)) for hours in (2, -7)]
    arrays = [to_arrow([datetime.datetime(2026, 1, 31, tzinfo=zone)], "n") for zone in zones]
    assert [array.type for array in arrays] == [pa.timestamp("us", "UTC")] * 2


PARTS = st.lists(
    st.sampled_from(list(SCALARS)).flatmap(lambda kind: st.lists(st.none() | SCALARS[kind], min_size=1, max_size=3)),
    min_size=1,
    max_size=4,
)


@given(PARTS)
@example([[2**53 + 2], [0.0]])
def test_parts_of_a_column_fit_their_unified_type_whatever_each_holds(parts):
    tables = [pa.table({"n": to_arrow(values, "n")}) for values in parts]
    schema = settle(unify([table.schema for table in tables]))
    numbers = [one for values in parts for one in values if type(one) is int]
    if schema.field("n").type == pa.float64() and any(float(one) != one for one in numbers):
        with pytest.raises(ConfigError, match="declare its type"):
            [fit(table, schema) for table in tables]
        return
    fitted = pa.concat_tables([fit(table, schema) for table in tables])
    assert [one is None for one in fitted["n"].to_pylist()] == [one is None for values in parts for one in values]
    kinds = {type(one) for values in parts for one in values if one is not None}
    if len(kinds) == 1:
        assert fitted["n"].to_pylist() == [one for values in parts for one in values]


def test_a_column_that_is_null_throughout_is_text_in_the_end():
    schema = unify([pa.schema([("a", pa.null())]), pa.schema([("a", pa.null()), ("b", pa.int64())])])
    assert settle(schema) == pa.schema([("a", pa.string()), ("b", pa.int64())])


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_an_integer_beside_decimals_keeps_its_value(number):
    tables = [pa.table({"n": to_arrow([value], "n")}) for value in (number, Decimal("0.5"))]
    schema = unify([table.schema for table in tables])
    assert fit(tables[0], schema)["n"].to_pylist() == [Decimal(number)]


@given(PARTS)
def test_a_key_is_found_in_the_form_in_which_it_was_kept(parts):
    tables = [pa.table({"n": to_arrow(values, "n")}) for values in parts]
    kept = settle(unify([table.schema for table in tables]))
    numbers = [one for values in parts for one in values if type(one) is int]
    assume(kept.field("n").type != pa.float64() or all(float(one) == one for one in numbers))
    for values, table in zip(parts, tables, strict=True):
        stored = fit(table, kept)["n"].to_pylist()
        forms = kept_forms(values, "n", kept.field("n").type)
        assert all(one in {form[index] for form in forms} for index, one in enumerate(stored))


@pytest.mark.parametrize(
    ("value", "kept"), [(1.5, pa.int64()), (2**53 + 1, pa.float64()), ("x", pa.int64()), (300, pa.int8())]
)
def test_a_value_that_a_type_would_change_has_no_form_in_it_and_the_others_have(value, kept):
    (forms,) = kept_forms([value, type(value)(1)], "n", kept)
    assert forms[0] is None
    assert forms[1] == type(value)(1) or isinstance(value, str)


def test_a_text_that_holds_json_says_so():
    marked = pa.field("n", pa.string(), metadata={b"greennode": b"json"})
    assert is_json(marked)
    assert not is_json(pa.field("n", pa.string()))
    assert json.loads(to_arrow([{"a": 1}], "n")[0].as_py()) == {"a": 1}


def test_values_whose_text_would_be_an_address_are_refused_by_name():
    class Opaque:
        pass

    class Named(Opaque):
        def __str__(self):
            return "named"

    assert to_arrow([Named(), "a"], "x").to_pylist() == ["named", "a"]
    with pytest.raises(ConfigError, match=r"column x holds values of type .*Opaque, which have no form as text"):
        to_arrow(["a", Opaque()], "x")
