import datetime
import logging
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.tables.open_table import sql_table

UTC = pa.timestamp("us", tz="UTC")
JSON = {b"greennode": b"json"}
# What a job may write, and values of each that some odd column might take.
WRITTEN = {
    "text": (pa.string(), ["words", "7", "2024-01-31", "true", "{}", "00000000-0000-0000-0000-000000000001", "12:00"]),
    "boolean": (pa.bool_(), [True, False]),
    "bigint": (pa.int64(), [0, 1, 7, 20240131, 1234]),
    "double": (pa.float64(), [0.0, 1.0, 7.5, 20240131.0]),
    "numeric": (pa.decimal128(10, 2), [Decimal("1.50"), Decimal("0.00"), Decimal("1.00")]),
    "date": (pa.date32(), [datetime.date(2024, 1, 31)]),
    "timestamp": (pa.timestamp("us"), [datetime.datetime(2024, 1, 31, 12)]),  # noqa: DTZ001 - it has no zone
    "timestamptz": (UTC, [datetime.datetime(2024, 1, 31, 12, tzinfo=datetime.UTC)]),
    "json": (pa.string(), ['{"a": 1}', "[]", "7", "true", '"x"', "{}"]),
}
COLUMNS = [
    "text", "varchar(40)", "char(40)", "boolean", "smallint", "integer", "bigint", "real", "double precision",
    "numeric", "numeric(12, 3)", "money", "date", "timestamp", "timestamptz", "time", "timetz", "interval", "uuid",
    "json", "jsonb", "bytea", "inet", "text[]", "integer[]", "mood", "positive", "int4range",
]  # fmt: skip


@pytest.fixture
def connection(database):
    with psycopg.connect(database) as made:
        made.execute("CREATE TYPE mood AS ENUM ('words', 'true', '7'); CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
        made.commit()
        yield made


def schema_of(written):
    value = pa.field("value", WRITTEN[written][0], metadata=JSON if written == "json" else None)
    return pa.schema([("id", pa.int64()), value, ("status", pa.string()), ("run_id", pa.string())])


def table_with(connection, column):
    columns = f"id bigint PRIMARY KEY, value {column}, status text, run_id text"
    connection.execute(f"DROP TABLE IF EXISTS answers; CREATE TABLE answers ({columns})")
    connection.commit()
    return sql_table(connection, "answers", ("id",))


def takes(table, schema, value):
    try:
        table.write([pa.table([[1], [value], ["succeeded"], ["r"]], schema=schema)])
    except (ConfigError, psycopg.Error):
        return False
    return True


@pytest.mark.parametrize("written", WRITTEN)
def test_what_a_column_takes_of_any_value_is_not_refused_and_what_is_refused_takes_none(connection, written):
    schema = schema_of(written)
    for column in COLUMNS:
        table = table_with(connection, column)
        is_taken = any(takes(table, schema, value) for value in WRITTEN[written][1])
        try:
            table.prepare(schema)
        except ConfigError:
            assert not is_taken, column
        connection.rollback()


@pytest.mark.parametrize(
    ("written", "column", "words"),
    [
        ("boolean", "integer", "is integer, and this job writes boolean"),
        ("timestamptz", "numeric(12, 3)", r"is numeric\(12,3\), and this job writes timestamptz"),
        ("date", "jsonb", "is jsonb, and this job writes date"),
        ("numeric", "bigint", "is bigint, and this job writes numeric"),
        ("bigint", "text[]", r"is text\[\], and this job writes bigint"),
        ("double", "uuid", "is uuid, and this job writes double precision"),
    ],
)
def test_a_type_that_takes_nothing_is_refused_with_the_statement_that_mends_it(connection, written, column, words):
    table = table_with(connection, column)
    with pytest.raises(
        ConfigError, match=f"table answers: the column value {words}, which the column cannot hold"
    ) as refused:
        table.prepare(schema_of(written))
    connection.execute(str(refused.value).partition("nothing is paid twice: ")[2])
    connection.commit()
    table.prepare(schema_of(written))
    assert takes(table, schema_of(written), WRITTEN[written][1][0])


def test_a_type_that_may_not_take_all_is_a_warning(connection, caplog):
    with caplog.at_level(logging.WARNING):
        table_with(connection, "integer").prepare(schema_of("text"))
    assert (
        "the column value is integer, and this job writes text: an answer that does not fit is invalid_output, and"
        in caplog.text
    )
    caplog.clear()
    for column in ("text", "varchar(40)", "mood"):
        table_with(connection, column).prepare(schema_of("text"))
    for written, column in (("bigint", "integer"), ("json", "json"), ("date", "timestamptz"), ("double", "numeric")):
        table_with(connection, column).prepare(schema_of(written))
    assert caplog.text == ""
