"""What is PostgreSQL's own."""

import datetime
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.errors import ConfigError
from greennode_batch.tables.open_table import sql_table

JSON = {b"greennode": b"json"}
TYPES = {
    "id": (pa.int64(), 1, "bigint"),
    "flag": (pa.bool_(), True, "boolean"),
    "big": (pa.uint64(), 2**64 - 1, "numeric"),
    "score": (pa.float64(), 0.1, "double precision"),
    "price": (pa.decimal128(10, 2), Decimal("12.50"), "numeric"),
    "day": (pa.date32(), datetime.date(2024, 2, 29), "date"),
    "local": (pa.timestamp("us"), datetime.datetime(2024, 1, 1, 12), "timestamp without time zone"),  # noqa: DTZ001
    "at": (
        pa.timestamp("us", tz="UTC"),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "timestamp with time zone",
    ),
    "doc": (pa.string(), '{"a": [1]}', "jsonb"),
    "status": (pa.string(), "succeeded", "text"),
    "run_id": (pa.string(), "r", "text"),
}


def test_columns_and_values_have_its_own_types(on_postgres):
    schema = pa.schema(
        [pa.field(name, kind, metadata=JSON if name == "doc" else None) for name, (kind, *_) in TYPES.items()]
    )
    row = {name: value for name, (_, value, _) in TYPES.items()}
    nothing = {**dict.fromkeys(TYPES), "id": 2, "status": "missing", "run_id": "r"}
    on_postgres.written(pa.Table.from_pylist([row, nothing], schema))
    found = on_postgres.fetch("SELECT * FROM answers ORDER BY id")
    assert found == [
        tuple((row | {"big": Decimal(2**64 - 1), "doc": {"a": [1]}}).values()),
        tuple(nothing.values()),
    ]
    kinds = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'answers'"
    assert dict(on_postgres.fetch(kinds)) == {name: kind for name, (*_, kind) in TYPES.items()}


class Trip(BaseModel):
    stops: list[str | None]
    took: datetime.timedelta
    late: datetime.timedelta
    price: float
    photo: bytes
    days: str


def test_answers_are_values_of_the_columns_that_are_there_and_are_read_back(on_postgres):
    on_postgres.run(
        "CREATE DOMAIN stops AS text[]",
        "SET IntervalStyle = 'sql_standard'",
        "CREATE TABLE answers (id bigint PRIMARY KEY, stops stops, took interval, late interval, price money, "
        "photo bytea, days daterange, status text, run_id text)",
    )
    reader = AnswerReader(Trip)
    took, late, stops = datetime.timedelta(400, 7_200), datetime.timedelta(seconds=-5_400), ['a, "b"', None, "\\{}"]
    answer = {
        "stops": stops,
        "took": "P400DT2H",
        "late": "-PT1H30M",
        "price": 9.5,
        "photo": "é",
        "days": "[2026-01-31,]",
    }
    values = dict(zip([field.name for field in reader.fields], reader.read(json.dumps(answer)), strict=True))
    schema = pa.schema([("id", pa.int64()), *reader.fields, ("status", pa.string()), ("run_id", pa.string())])
    table = on_postgres.written(pa.Table.from_pylist([{"id": 1, **values, "status": "s", "run_id": "r"}], schema))
    (stored,) = table.stored(pa.table({"id": [1]}), reader.fields[:3]).to_pylist()
    on_postgres.run("RESET IntervalStyle")
    found = on_postgres.fetch("SELECT stops, took, late, price::numeric, photo, lower(days) FROM answers")
    assert found == [(stops, took, late, Decimal("9.50"), "é".encode(), datetime.date(2026, 1, 31))]
    assert (json.loads(stored["stops"]), stored["took"]) == (stops, "400 days 02:00:00")


def test_a_time_without_a_zone_is_utc_in_a_column_with_one_whatever_the_session_says(on_postgres):
    on_postgres.run(
        "SET TimeZone = 'Asia/Ho_Chi_Minh'",
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer text, status text, run_id text, at timestamptz)",
    )
    rows = on_postgres.rows_of("a").append_column("at", pa.array([datetime.datetime(2026, 1, 31, 14)]))  # noqa: DTZ001
    on_postgres.written(rows)
    assert on_postgres.fetch("SELECT at AT TIME ZONE 'UTC' FROM answers") == [(datetime.datetime(2026, 1, 31, 14),)]  # noqa: DTZ001


def test_a_nul_becomes_a_replacement_character(on_postgres):
    docs = [json.dumps({"a\x00": "\x00", "b": "\\u0000"}), None]
    rows = on_postgres.rows_of("a\x00b", "c")
    on_postgres.written(rows.append_column(pa.field("doc", pa.string(), metadata=JSON), pa.array(docs)))
    assert on_postgres.fetch("SELECT answer, doc FROM answers ORDER BY id") == [
        ("a\ufffdb", {"a\ufffd": "\ufffd", "b": "\\u0000"}),
        ("c", None),
    ]


def test_a_deferred_key_cannot_be_upserted_by_and_one_with_included_columns_can(on_postgres):
    columns = "id bigint, answer text, status text, run_id text"
    on_postgres.run(
        f"CREATE TABLE deferred ({columns}, UNIQUE (id) DEFERRABLE)",
        f"CREATE TABLE included ({columns}, UNIQUE (id) INCLUDE (answer))",
    )
    with pytest.raises(ConfigError, match="no unique index"):
        on_postgres.table("deferred").prepare(on_postgres.schema)
    on_postgres.written(on_postgres.rows_of("a"), name="included")


def test_a_name_that_it_would_cut_is_refused(on_postgres):
    long = "ệ" * 22
    with pytest.raises(ConfigError, match=f"the name '{long}' is longer than PostgreSQL's 63 bytes"):
        on_postgres.table().prepare(pa.schema([*on_postgres.schema, (long, pa.string())]))


def test_a_value_that_its_column_cannot_hold_is_a_config_error(on_postgres):
    on_postgres.run("CREATE TABLE answers (id bigint PRIMARY KEY, answer int, status text, run_id text)")
    with pytest.raises(ConfigError, match="invalid input syntax for type integer"):
        on_postgres.written(on_postgres.rows_of("words"))


def test_workers_who_make_and_write_one_table_at_once_all_succeed(database, on_postgres):
    barrier = threading.Barrier(4)

    def work(number):
        rows = on_postgres.rows_of(*[f"{number}-{index}" for index in range(50)])
        with psycopg.connect(database) as connection:
            barrier.wait()
            table = sql_table(connection, "answers", ("id",))
            table.prepare(rows.schema)
            table.write([rows])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    answers = [answer.partition("-")[0] for (answer,) in on_postgres.fetch("SELECT answer FROM answers")]
    assert len(answers) == 50
    assert len(set(answers)) == 1
