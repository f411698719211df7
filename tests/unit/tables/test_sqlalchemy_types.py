import pyarrow as pa
import pytest
from sqlalchemy.dialects import mssql, mysql, oracle

from greennode_batch.tables.sqlalchemy_types import generic_type

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
