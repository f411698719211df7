import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.declared_types import as_type, declared_type


def typed(values, words, kind=None):
    return as_type(pa.array(values, kind), declared_type(words)).to_pylist()


@pytest.mark.parametrize(
    ("words", "text", "value"),
    [
        ("text", "007", "007"),
        ("integer", "-9223372036854775808", -(2**63)),
        ("float", "0.5", 0.5),
        ("float", "0e5", 0.0),
        ("boolean", "true", True),
        ("date", "2026-01-31", datetime.date(2026, 1, 31)),
        ("timestamp", "2026-01-31 12:00:00", datetime.datetime(2026, 1, 31, 12)),  # noqa: DTZ001 - it has none
        ("timestamptz", "2026-01-31T12:00:00+02:00", datetime.datetime(2026, 1, 31, 10, tzinfo=datetime.UTC)),
        (
            "decimal(38, 2)",
            "123456789012345678901234567890123456.78",
            Decimal("123456789012345678901234567890123456.78"),
        ),
        ("decimal(60, 0)", "1" * 60, Decimal("1" * 60)),
    ],
)
def test_a_text_becomes_what_is_declared_and_null_stays_null(words, text, value):
    assert typed([text, None], words) == [value, None]


@given(st.integers(0, 2**64 - 1))
def test_an_integer_of_a_file_becomes_a_decimal_of_its_digits_or_is_refused(number):
    if number < 10**5:
        assert typed([number], "decimal(5, 0)", pa.uint64()) == [Decimal(number)]
    else:
        with pytest.raises(ConfigError, match="a value cannot be converted to decimal128"):
            typed([number], "decimal(5, 0)", pa.uint64())


def test_a_json_text_is_kept_as_it_is_written():
    made = as_type(pa.array(['{"a": 1}', None]), declared_type("json"))
    assert made.type == pa.json_()
    assert made.storage.to_pylist() == ['{"a": 1}', None]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("integer", "1.5"),
        ("integer", str(2**63)),
        ("integer", "0x10"),
        ("float", "1e400"),
        ("float", "-0.1e-400"),
        ("date", "31.01.2026"),
        ("boolean", "maybe"),
        ("decimal(3, 1)", "100"),
    ],
)
def test_a_value_that_the_type_cannot_hold_is_named_with_its_column(words, text):
    with pytest.raises(ConfigError, match=r"a value cannot be converted to .*Nothing was sent"):
        typed([text], words)


@pytest.mark.parametrize("words", ["int", "", "decimal", "decimal(0, 0)", "varchar(10)"])
def test_a_type_that_no_job_may_use_is_refused(words):
    with pytest.raises(ConfigError):
        declared_type(words)
