import datetime

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, mysql, oracle

from greennode_batch.source.value_limits import beyond
from greennode_batch.state.column_limit import ColumnLimit
from greennode_batch.tables.sqlalchemy_types import column_values, generic_bounds, generic_type

FIELDS = [
    pa.field("big", pa.uint64()),
    pa.field("price", pa.decimal128(10, 2)),
    pa.field("local", pa.timestamp("us")),
    pa.field("at", pa.timestamp("us", tz="UTC")),
    pa.field("doc", pa.string(), metadata={b"greennode": b"json"}),
]


@pytest.mark.parametrize(
    ("dialect", "wanted"),
    [
        (mysql.dialect(), ["NUMERIC(20, 0)", "NUMERIC(10, 2)", "DATETIME(6)", "DATETIME(6)", "LONGTEXT"]),
        (mssql.dialect(), ["NUMERIC(20, 0)", "NUMERIC(10, 2)", "DATETIME2(6)", "DATETIMEOFFSET(6)", "NVARCHAR(max)"]),
        (oracle.dialect(), ["NUMERIC(20, 0)", "NUMERIC(10, 2)", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "CLOB"]),
    ],
    ids=["mysql", "mssql", "oracle"],
)
def test_other_databases_get_types_that_hold_the_values(dialect, wanted):
    assert [generic_type(field, is_key=False).compile(dialect=dialect) for field in FIELDS] == wanted


def test_a_text_key_is_short_enough_for_an_index():
    for dialect, wanted in ((mysql.dialect(), "VARCHAR(255)"), (mssql.dialect(), "NVARCHAR(255)")):
        assert generic_type(pa.field("id", pa.string()), is_key=True).compile(dialect=dialect) == wanted


@pytest.mark.parametrize(
    ("kind", "dialect", "held", "stored", "not_held"),
    [
        (sa.ARRAY(sa.Integer()), "postgresql", "[[1, null]]", [["1", None]], "[1.5]"),
        (sa.Boolean(), "postgresql", "Yes", True, "maybe"),
        (mysql.DATETIME(), "mysql", "2026-01-31T12:00+07:00", datetime.datetime(2026, 1, 31, 5), "noon"),  # noqa: DTZ001
        (sa.Time(), "mysql", "12:30", datetime.time(12, 30), "noon"),
        (mysql.DOUBLE(), "mysql", "1.5", "1.5", "x"),
        (mysql.FLOAT(), "mysql", "1.5", "1.5", "1e300"),
        (mysql.SET("a", "b"), "mysql", "a,b", "a,b", None),
        (mysql.BLOB(), "mysql", "\\x", b"\\x", None),
        (sa.JSON(), "mysql", '{"a": 1}', {"a": 1}, None),
    ],
    ids=str,
)
def test_a_text_of_an_answer_is_a_value_of_its_column_or_known_as_none(kind, dialect, held, stored, not_held):
    assert list(column_values(pa.table({"value": [held]}), "value", kind, dialect)) == [stored]
    bounds = generic_bounds(kind, dialect)
    assert (bounds is None) is (not_held is None)
    if bounds is not None:
        element = bounds.get("element") and ColumnLimit("", "", "", **bounds["element"])
        limit = ColumnLimit("", "", "", **{**bounds, "element": element})
        assert beyond(pa.array([held, not_held]), limit, may_round=True).to_pylist() == [False, True]
