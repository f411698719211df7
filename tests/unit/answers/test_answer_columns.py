import datetime
from typing import Annotated, Optional

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, Field, NaiveDatetime, create_model
from typing_extensions import TypeAliasType

from greennode_batch.answers.answer_columns import answer_fields, columns_of
from greennode_batch.source.column_types import is_json

LOCAL, ZONED = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
Day = TypeAliasType("Day", NaiveDatetime)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (NaiveDatetime, LOCAL),
        (NaiveDatetime | None, LOCAL),
        (Optional[NaiveDatetime], LOCAL),  # noqa: UP045 - this spelling is what is tested
        (Annotated[NaiveDatetime, Field(description="as on the receipt")] | None, LOCAL),
        (Day, LOCAL),
        (datetime.datetime, ZONED),
        (AwareDatetime, ZONED),
        (AwareDatetime | None, ZONED),
        (NaiveDatetime | AwareDatetime, ZONED),
    ],
)
def test_a_time_has_a_zone_unless_its_type_has_none(kind, column):
    (field,) = answer_fields(create_model("Receipt", at=(kind, ...)))
    assert field.type == column


def test_a_list_of_times_is_json():
    (field,) = answer_fields(create_model("Receipt", at=(list[NaiveDatetime], ...)))
    assert is_json(field)


def test_a_time_without_a_zone_is_stored_as_it_is_and_otherwise_taken_as_utc():
    model = create_model("Receipt", local=(NaiveDatetime, ...), moment=(datetime.datetime, ...))
    noon = datetime.datetime(2026, 1, 31, 12)  # noqa: DTZ001 - it has no zone
    fields = answer_fields(model)
    columns, reasons = columns_of([(noon, noon)], fields)
    assert not reasons
    stored = [pa.array(values, field.type)[0].as_py() for values, field in zip(columns, fields, strict=True)]
    assert stored == [noon, noon.replace(tzinfo=datetime.UTC)]


def test_a_duration_counts_days_and_no_years():
    times = [datetime.timedelta(400, 60), datetime.timedelta(-365), datetime.timedelta(0)]
    fields = answer_fields(create_model("Trip", took=(datetime.timedelta, ...)))
    assert columns_of([(time,) for time in times], fields) == ([["P400DT1M", "-P365D", "PT0S"]], {})


class Row(BaseModel):
    whole: int
    number: float
    at: datetime.datetime
    text: str


ROWS = st.tuples(
    st.integers(-(2**65), 2**65) | st.sampled_from([2**63 - 1, -(2**63)]),
    st.floats(),
    st.datetimes(timezones=st.sampled_from([datetime.UTC, datetime.timezone(datetime.timedelta(hours=14)), None])),
    st.text(st.characters(), max_size=3),
)


@given(st.lists(ROWS, max_size=5))
def test_a_row_has_a_reason_exactly_where_arrow_or_a_database_cannot_hold_a_value(rows):
    fields = answer_fields(Row)
    columns, reasons = columns_of(rows, fields)
    assert set(reasons) == {index for index, row in enumerate(rows) if not _fits(row)}
    kept = [[value for index, value in enumerate(column) if index not in reasons] for column in columns]
    arrays = [pa.array(values, field.type) for values, field in zip(kept, fields, strict=True)]
    assert {len(array) for array in arrays} == {len(rows) - len(reasons)}
    assert pa.table(arrays, schema=pa.schema(fields)).to_pylist() is not None


def _fits(row):
    whole, number, at, text = row
    try:
        text.encode()
        at.replace(tzinfo=at.tzinfo or datetime.UTC).astimezone(datetime.UTC)
    except (UnicodeEncodeError, OverflowError):
        return False
    return -(2**63) <= whole < 2**63 and abs(number) < float("inf")
