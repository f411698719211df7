"""Tables of any database by SQLAlchemy, tried on dialects and parameter styles that are at hand."""

import datetime
import itertools
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.tables.fingerprint import fingerprint

numbers = itertools.count()
JSON = {b"greennode": b"json"}


def test_names_stand_in_statements_as_the_database_wants_them(generic):
    generic.run("CREATE TABLE answers (id bigint PRIMARY KEY)")
    with pytest.raises(ConfigError, match=r"has no column answer.*ALTER TABLE answers ADD COLUMN answer TEXT"):
        generic.table().prepare(generic.schema)


TYPED = pa.schema(
    [
        ("id", pa.int64()),
        ("flag", pa.bool_()),
        ("big", pa.uint64()),
        ("score", pa.float64()),
        ("price", pa.decimal128(10, 2)),
        ("day", pa.date32()),
        ("local", pa.timestamp("us")),
        ("at", pa.timestamp("us", tz="UTC")),
        ("clock", pa.time64("us")),
        pa.field("doc", pa.string(), metadata=JSON),
        ("custom_id", pa.string()),
        ("status", pa.string()),
        ("run_id", pa.string()),
    ]
)
ROW = {
    "id": 1,
    "flag": True,
    "big": 2**40,
    "score": 0.1,
    "price": Decimal("12.50"),
    "day": datetime.date(2024, 2, 29),
    "local": datetime.datetime(2024, 1, 1, 12, 0, 0, 5),  # noqa: DTZ001 - it has no zone
    "at": datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC),
    "clock": datetime.time(1, 2, 3),
    "doc": '{"a": [1]}',
    "custom_id": "c",
    "status": "succeeded",
    "run_id": "r",
}


def test_a_time_without_a_zone_is_utc_in_a_column_with_one(open_database):
    postgres = open_database("postgresql+psycopg")
    at = datetime.datetime(2026, 1, 31, 14)  # noqa: DTZ001 - it has no zone
    postgres.run("CREATE TABLE answers (id bigint PRIMARY KEY, answer text, status text, run_id text, at timestamptz)")
    sa.event.listen(postgres.opened, "begin", lambda tx: tx.exec_driver_sql("SET TimeZone = 'Asia/Ho_Chi_Minh'"))
    postgres.written(postgres.rows_of("a").append_column("at", pa.array([at])))
    assert postgres.fetch("SELECT at AT TIME ZONE 'UTC' FROM answers") == [(at,)]


def test_values_of_all_types_come_back(generic):
    nothing = {**dict.fromkeys(TYPED.names), "id": 2, "status": "missing", "run_id": "r"}
    table = generic.written(pa.Table.from_pylist([ROW, nothing], TYPED))
    (read,) = table.batches("r", TYPED)
    first, second = sorted(read.to_pylist(), key=lambda row: row["id"])
    assert first == {**ROW, "clock": "01:02:03.000000"}
    assert second == nothing


@pytest.mark.parametrize("kind", ["postgresql+psycopg", "postgresql+psycopg2"])
def test_columns_that_are_there_take_what_their_types_want(open_database, kind):
    generic = open_database(kind)
    generic.run(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE answers (id uuid PRIMARY KEY, answer mood, doc jsonb, "
        "custom_id varchar(9), status text, run_id text)",
    )
    one = str(uuid.UUID(int=7))
    rows = pa.table({"id": [one], "answer": ["good"], "custom_id": ["c"], "status": ["succeeded"], "run_id": ["r"]})
    doc = pa.field("doc", pa.string(), metadata=JSON)
    table = generic.written(rows.append_column(doc, pa.array(['{"a": [1]}'])))
    assert generic.fetch("SELECT answer::text, doc->'a'->>0 FROM answers") == [("good", "1")]
    (found,) = table.find(rows.select(["id"])).to_pylist()
    assert (found["index"], found["id"], found["run_id"]) == (0, one, "r")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufffd"), max_size=6)
KEYS = {
    "text": texts,
    "a whole number": st.integers(-(2**63), 2**63 - 1),
    "a date": st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31)),
    "a time": st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)),  # noqa: DTZ001 - of no zone
    "a boolean": st.booleans(),
}


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=settings.default.max_examples // 6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_read_back_and_found_is_what_was_written(generic, kind, data):
    values = data.draw(st.lists(KEYS[kind], min_size=1, max_size=9, unique_by=(str, lambda value: value)))
    second = data.draw(st.lists(texts, min_size=len(values), max_size=len(values)))
    count = len(values)
    rows = pa.table(
        {
            "k0": values,
            "k1": second,
            "custom_id": pa.array([None] * count, pa.string()),
            "status": ["s"] * count,
            "run_id": ["r"] * count,
        }
    )
    table = generic.written(rows, name=f"t{next(numbers)}", key=("k0", "k1"))
    assert table.write([rows]) == (count, 0)
    assert fingerprint(table.batches("r", rows.schema.remove(4)), table.key) == fingerprint([rows], table.key)
    assert sorted(table.find(rows.select(["k0", "k1"]))["index"].to_pylist()) == list(range(count))
