import datetime
import itertools
import sqlite3
import uuid
from contextlib import closing
from decimal import Decimal
from zoneinfo import ZoneInfo

import psycopg
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from greennode_batch.reconcile.written import TableRows
from greennode_batch.reconcile.written_files import DatasetRows, FileRows
from greennode_batch.source.column_types import to_arrow
from greennode_batch.staging.folders import run_folder
from greennode_batch.tables import postgres_copy
from greennode_batch.tables.fingerprint import fingerprint
from greennode_batch.tables.open_table import sql_table
from greennode_batch.tables.typed_rows import OPTIONAL
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.dataset import Dataset

numbers = itertools.count()


@pytest.fixture(params=["psycopg", "psycopg2", "sqlite"])
def connection(request, tmp_path):
    if request.param == "sqlite":
        made = sqlite3.connect(tmp_path / "target.db")
    else:
        connect = psycopg.connect if request.param == "psycopg" else psycopg2.connect
        made = connect(request.getfixturevalue("database"))
        made.cursor().execute("SET TIME ZONE 'Asia/Ho_Chi_Minh'")
        made.commit()
    with closing(made):
        yield made


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=6)
days = st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31))
moments = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31))  # noqa: DTZ001 - of no zone
zones = st.sampled_from([datetime.UTC, ZoneInfo("Asia/Ho_Chi_Minh"), ZoneInfo("America/New_York")])
KEYS = {
    "text": texts,
    "a whole number": st.integers(-(2**63), 2**63 - 1),
    "an unsigned number": st.integers(0, 2**64 - 1),
    "a fraction": st.floats(allow_nan=False).map(lambda number: number + 0.0),
    "a decimal": st.decimals(-(10**12), 10**12, places=4),
    "decimals of any scale": st.decimals(-(10**12), 10**12, allow_nan=False),
    "a boolean": st.booleans(),
    "a date": days,
    "a time of day": st.times(),
    "a time": moments,
    "a time with a zone": st.integers(86_400, 7_000_000_000).flatmap(
        lambda seconds: zones.map(lambda zone: datetime.datetime.fromtimestamp(seconds, zone))
    ),
    "a UUID": st.uuids(),
    "a span of time": st.timedeltas(),
    "texts and numbers": st.one_of(texts, st.integers(0, 9)),
}


def rows_of(columns, statuses):
    """The joined rows for key columns, some of them unsent."""
    count = len(columns[0])
    ids = [None if n % 3 == 2 else f"id {n}" for n in range(count)]
    keys = {f"k{index}": to_arrow(values, "k") for index, values in enumerate(columns)}
    return pa.table({**keys, "custom_id": pa.array(ids, pa.string()), "status": statuses, "run_id": ["r"] * count})


def schema_of(rows):
    return rows.drop_columns("run_id").schema


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=settings.default.max_examples // 5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_read_back_has_the_fingerprint_of_what_was_written(connection, kind, data):
    values = data.draw(st.lists(KEYS[kind], min_size=1, max_size=9, unique_by=(str, lambda value: value)))
    second = data.draw(st.lists(texts, min_size=len(values), max_size=len(values)))
    statuses = data.draw(st.lists(st.sampled_from(["succeeded", "failed"]), min_size=len(values), max_size=len(values)))
    rows = rows_of([values, second], statuses)
    table = sql_table(connection, f"t{next(numbers)}", ("k0", "k1"))
    table.prepare(rows.schema)
    table.write([rows])
    read = list(TableRows(table, "r").batches(schema_of(rows)))
    assert fingerprint(read, table.key) == fingerprint([rows], table.key)
    assert all(piece.column_names == schema_of(rows).names for piece in read)


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=settings.default.max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), by=st.sampled_from([(), ("k1",), ("k0", "status"), ("run_id",)]))
def test_what_a_dataset_gives_back_has_the_fingerprint_of_what_was_written(tmp_path, kind, by, data):
    values = data.draw(st.lists(KEYS[kind], min_size=1, max_size=9, unique_by=(str, lambda value: value)))
    second = data.draw(st.lists(texts, min_size=len(values), max_size=len(values)))
    rows = rows_of([values, second], ["succeeded"] * len(values))
    folder = UPath(tmp_path / f"d{next(numbers)}")
    dataset = Dataset(folder, run_folder(tmp_path, "dag", "run"), partition_by=by)
    dataset.write([rows.slice(0, 1)], "shard1")
    if len(values) > 1:
        dataset.write([rows.slice(1)], "shard2")
    read = DatasetRows(dataset)
    assert fingerprint(read.batches(schema_of(rows)), ("k0", "k1")) == fingerprint([rows], ("k0", "k1"))
    assert sorted(read.find(rows.select(["k0", "k1"]))["index"].to_pylist()) == list(range(len(values)))


def test_rows_of_other_runs_and_a_table_that_is_not_there_are_not_the_runs(connection):
    rows = rows_of([[1, 2, 3]], ["succeeded"] * 3)
    table = sql_table(connection, "answers", ("k0",))
    assert list(TableRows(table, "r").batches(schema_of(rows))) == []
    assert TableRows(table, "r").find(rows.select(["k0"])).num_rows == 0
    table.prepare(rows.schema)
    table.write([rows])
    assert list(TableRows(table, "another").batches(schema_of(rows))) == []


@pytest.fixture
def many(connection, monkeypatch):
    """A table of more rows than are read at once, and these rows."""
    monkeypatch.setattr(postgres_copy, "READ_BYTES", 100_000)
    rows = rows_of([list(range(25_000))], ["succeeded"] * 25_000)
    table = sql_table(connection, "answers", ("k0",))
    table.prepare(rows.schema)
    table.write([rows])
    return table, rows


def test_many_rows_are_read_in_pieces(many):
    table, rows = many
    pieces = list(TableRows(table, "r").batches(schema_of(rows)))
    assert len(pieces) >= 3
    assert max(piece.num_rows for piece in pieces) <= 10_000
    assert fingerprint(pieces, ("k0",)) == fingerprint([rows], ("k0",))


def test_reading_may_stop_at_any_piece_and_the_table_is_read_again(many):
    table, rows = many
    begun = TableRows(table, "r").batches(schema_of(rows))
    assert next(begun).num_rows < 25_000
    begun.close()
    assert fingerprint(TableRows(table, "r").batches(schema_of(rows)), ("k0",)).rows == 25_000


HARD = [
    "",
    "NULL",
    "\\N",
    "\\.",
    "a\n\\.\nb",
    "\\.\r\n",
    '"',
    '""',
    ",",
    "\r\n",
    "\t",
    "😀",
    " x ",
    "\u2028",
    "\\",
    "a\\",
]


def test_texts_that_mean_something_to_copy_are_read_as_they_are(connection):
    rows = rows_of([HARD], ["succeeded"] * len(HARD))
    table = sql_table(connection, "answers", ("k0",))
    table.prepare(rows.schema)
    table.write([rows])
    read = pa.concat_tables(TableRows(table, "r").batches(schema_of(rows)))
    assert sorted(read["k0"].to_pylist()) == sorted(HARD)
    assert read["custom_id"].null_count == rows["custom_id"].null_count > 0
    assert TableRows(table, "r").find(rows.select(["k0"])).num_rows == len(HARD)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC), "timestamp"),
        (datetime.datetime(2024, 1, 1, 12), "timestamptz"),  # noqa: DTZ001 - it has no zone
        (7, "text"),
        ("7", "bigint"),
        (True, "text"),
        ("true", "boolean"),
        (Decimal("1.50"), "text"),
        (Decimal("1.50"), "numeric"),
        (float("inf"), "double precision"),
        (datetime.date(2024, 2, 29), "text"),
    ],
)
def test_a_table_of_somewhat_other_types_gives_back_what_was_written(database, value, kind):
    rows = rows_of([[value]], ["succeeded"])
    with psycopg.connect(database) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE answers (k0 {kind} PRIMARY KEY, custom_id text, status text, run_id text)")
        connection.commit()
        table = sql_table(connection, "answers", ("k0",))
        table.write([rows])
        read = TableRows(table, "r").batches(schema_of(rows))
        assert fingerprint(read, ("k0",)) == fingerprint([rows], ("k0",))


def test_rows_are_found_by_their_keys_whoever_wrote_them(connection, tmp_path):
    rows = rows_of([[1, 2, 3], ["a", "b", "c"]], ["succeeded", "failed", "unsent"])
    table = sql_table(connection, "answers", ("k0", "k1"))
    table.prepare(rows.schema)
    table.write([rows])
    pq.write_table(rows, tmp_path / "out.parquet")
    requested = pa.table({"k0": [9, 3, 2, 1], "k1": ["a", "c", "c", "a"]})
    for target in (TableRows(table, "another"), FileRows(AnswerFile(tmp_path / "out.parquet"))):
        found = target.find(requested)
        assert sorted(found.drop_columns(list(OPTIONAL)).to_pylist(), key=lambda row: row["index"]) == [
            {"index": 1, "k0": 3, "k1": "c", "custom_id": None, "status": "unsent", "run_id": "r"},
            {"index": 3, "k0": 1, "k1": "a", "custom_id": "id 0", "status": "succeeded", "run_id": "r"},
        ]
        assert target.find(requested.slice(0, 1)).num_rows == 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("ABC", "char(8)"),
        (uuid.UUID(int=10).hex.upper(), "uuid"),
        (Decimal("1.50"), "numeric(12, 5)"),
        ("007", "integer"),
        (datetime.datetime(2024, 1, 1, 12), "timestamptz"),  # noqa: DTZ001 - it has no zone
        ("2024-01-01", "date"),
        (7, "text"),
        (0.1, "real"),
        ("a\x00b", "text"),
    ],
)
def test_a_row_whose_key_the_table_shows_in_its_own_way_is_found(database, value, kind):
    rows = rows_of([[value]], ["succeeded"])
    with psycopg.connect(database) as connection:
        connection.execute(f"CREATE TABLE answers (k0 {kind} PRIMARY KEY, custom_id text, status text, run_id text)")
        connection.commit()
        table = sql_table(connection, "answers", ("k0",))
        table.write([rows])
        (found,) = TableRows(table, "r").find(rows.select(["k0"])).to_pylist()
        assert (found["index"], found["custom_id"], found["run_id"]) == (0, "id 0", "r")


def test_a_file_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "out.parquet"
    rows = rows_of([["a\x00", "b"], [datetime.date(1, 1, 1), None]], ["succeeded", "failed"])
    assert list(FileRows(AnswerFile(path)).batches(schema_of(rows))) == []
    pq.write_table(rows.append_column("answer", pa.array(["x", "y"])), path)
    assert fingerprint(FileRows(AnswerFile(path)).batches(schema_of(rows)), ("k0", "k1")) == fingerprint(
        [rows], ("k0", "k1")
    )
