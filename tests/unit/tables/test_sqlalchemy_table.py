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
from sqlalchemy.dialects import mssql, mysql, oracle

from greennode_batch.errors import ConfigError
from greennode_batch.reconcile.written import TableRows
from greennode_batch.tables.fingerprint import fingerprint
from greennode_batch.tables.open_table import sql_table
from greennode_batch.tables.sqlalchemy_types import generic_type

numbers = itertools.count()
JSON = {b"greennode": b"json"}
UTC = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("answer", pa.string()),
        ("custom_id", pa.string()),
        ("status", pa.string()),
        ("run_id", pa.string()),
    ]
)
POSTGRES = ["postgresql+psycopg", "postgresql+psycopg2"]
SQLITE = ["sqlite:qmark", "sqlite:named", "sqlite:numeric"]


@pytest.fixture(params=[*POSTGRES, *SQLITE])
def engine(request, tmp_path):
    kind, _, style = request.param.partition(":")
    if kind == "sqlite":
        made = sa.create_engine(f"sqlite:///{tmp_path}/target.db", paramstyle=style)
    else:
        made = sa.create_engine(request.getfixturevalue("database").replace("postgresql", kind, 1))
    yield made
    made.dispose()


def rows_of(*answers, run_id="r", schema=SCHEMA):
    count = len(answers)
    return pa.table(
        [range(1, count + 1), answers, ["c"] * count, ["succeeded"] * count, [run_id] * count], schema=schema
    )


def execute(engine, *statements):
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def fetch(engine, statement):
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def written(engine, rows, name="answers", key=("id",), **options):
    table = sql_table(engine, name, key, **options)
    table.prepare(rows.schema)
    assert table.write([rows]) == rows.num_rows
    return table


def test_writing_twice_writes_the_same_rows(engine):
    written(engine, rows_of("a", "b"))
    table = written(engine, rows_of("a2", None, "c2", run_id="s"))
    assert fetch(engine, "SELECT id, answer FROM answers ORDER BY id") == [(1, "a2"), (2, None), (3, "c2")]
    assert list(table.batches("r", SCHEMA)) == []
    assert fingerprint(table.batches("s", SCHEMA), ("id",)) == fingerprint([rows_of("", "", "")], ("id",))


def test_the_columns_of_another_are_left_as_they_are(engine):
    execute(
        engine,
        "CREATE TABLE answers (id bigint PRIMARY KEY, mine varchar(9) DEFAULT 'new' NOT NULL, answer text, "
        "custom_id text, status text, run_id text)",
        "INSERT INTO answers (id, mine) VALUES (1, 'kept')",
    )
    written(engine, rows_of("a", "b"))
    assert fetch(engine, "SELECT id, mine, answer FROM answers ORDER BY id") == [(1, "kept", "a"), (2, "new", "b")]


def test_a_column_that_demands_a_value_and_one_that_is_missing_are_named(engine):
    execute(
        engine,
        "CREATE TABLE answers (id bigint PRIMARY KEY, mine int NOT NULL, custom_id text, status text, run_id text)",
    )
    with pytest.raises(ConfigError, match=r"has no column answer.*ALTER TABLE answers ADD COLUMN answer TEXT"):
        sql_table(engine, "answers", ("id",)).prepare(SCHEMA)
    with pytest.raises(ConfigError, match="table answers demands a value in mine"):
        sql_table(engine, "answers", ("id",), add_columns=True).prepare(SCHEMA)


def test_missing_columns_are_added_where_the_job_says_so(engine):
    execute(engine, "CREATE TABLE answers (id bigint PRIMARY KEY)")
    written(engine, rows_of("a"), add_columns=True)
    assert fetch(engine, "SELECT answer, status FROM answers") == [("a", "succeeded")]


def test_looking_makes_nothing(engine):
    sql_table(engine, "answers", ("id",)).prepare(SCHEMA, create=False)
    assert not sa.inspect(engine).has_table("answers")


@pytest.mark.parametrize(
    "name", ['x"; DROP TABLE precious; --', "Mixed Case", "tiếng Việt", "a'b", "select", "50%s", "a:b"]
)
def test_a_name_is_only_ever_a_name(engine, name):
    execute(engine, "CREATE TABLE precious (id int)")
    rows = rows_of("a", "b").append_column(name, pa.array(["x", "y"]))
    table = written(engine, rows, name=name)
    (read,) = table.batches("r", pa.schema([("id", pa.int64()), (name, pa.string())]))
    assert sorted(zip(*read.to_pydict().values(), strict=True)) == [(1, "x"), (2, "y")]
    assert fetch(engine, "SELECT * FROM precious") == []


def test_a_schema_may_stand_before_the_table(database):
    engine = sa.create_engine(database.replace("postgresql", "postgresql+psycopg", 1))
    execute(engine, 'CREATE SCHEMA "My Schema"', "CREATE TABLE answers (id int)")
    written(engine, rows_of("a"), name="My Schema.answers")
    assert fetch(engine, 'SELECT answer FROM "My Schema".answers') == [("a",)]
    engine.dispose()


def test_a_shard_that_fails_half_way_leaves_nothing_and_shows_no_row(engine):
    execute(
        engine,
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer text CHECK (answer <> 'a secret'), custom_id text, "
        "status text, run_id text)",
    )
    table = written(engine, rows_of("old"))
    with pytest.raises(ConfigError, match=r"table answers does not take the answers.*at no cost") as refused:
        table.write([rows_of("new"), rows_of(*["fine"] * 6_000, "a secret").slice(1)])
    assert "[parameters" not in str(refused.value)
    assert fetch(engine, "SELECT id, answer FROM answers") == [(1, "old")]


TYPED = pa.schema(
    [
        ("id", pa.int64()),
        ("flag", pa.bool_()),
        ("big", pa.uint64()),
        ("score", pa.float64()),
        ("price", pa.decimal128(10, 2)),
        ("day", pa.date32()),
        ("local", pa.timestamp("us")),
        ("at", UTC),
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


def test_values_of_all_types_come_back(engine):
    nothing = {**dict.fromkeys(TYPED.names), "id": 2, "status": "missing", "run_id": "r"}
    table = written(engine, pa.Table.from_pylist([ROW, nothing], TYPED))
    (read,) = table.batches("r", TYPED)
    first, second = sorted(read.to_pylist(), key=lambda row: row["id"])
    assert first == {**ROW, "clock": "01:02:03.000000"}
    assert second == nothing


@pytest.mark.parametrize("driver", POSTGRES)
def test_columns_that_are_there_take_what_their_types_want(database, driver):
    engine = sa.create_engine(database.replace("postgresql", driver, 1))
    execute(
        engine,
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE answers (id uuid PRIMARY KEY, answer mood, doc jsonb, "
        "custom_id varchar(9), status text, run_id text)",
    )
    one = str(uuid.UUID(int=7))
    rows = pa.table({"id": [one], "answer": ["good"], "custom_id": ["c"], "status": ["succeeded"], "run_id": ["r"]})
    doc = pa.field("doc", pa.string(), metadata=JSON)
    table = written(engine, rows.append_column(doc, pa.array(['{"a": [1]}'])))
    assert fetch(engine, "SELECT answer::text, doc->'a'->>0 FROM answers") == [("good", "1")]
    (found,) = TableRows(table, "r").find(rows.select(["id"])).to_pylist()
    assert (found["place"], found["id"], found["run_id"]) == (0, one, "r")
    engine.dispose()


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufffd"), max_size=6)
KEYS = {
    "text": texts,
    "a whole number": st.integers(-(2**63), 2**63 - 1),
    "a date": st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31)),
    "a time": st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)),  # noqa: DTZ001 - of no zone
    "a boolean": st.booleans(),
}


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_read_back_and_found_is_what_was_written(engine, kind, data):
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
    table = written(engine, rows, name=f"t{next(numbers)}", key=("k0", "k1"))
    assert table.write([rows]) == count
    assert fingerprint(table.batches("r", rows.schema.remove(4)), table.key) == fingerprint([rows], table.key)
    assert sorted(table.find(rows.select(["k0", "k1"]))["place"].to_pylist()) == list(range(count))


def test_rows_whose_keys_the_source_has_no_more_are_told_and_removed(engine):
    table = written(engine, rows_of(*"abcde"))
    keys = pa.table({"id": pa.array([2, 4, 9], pa.int64())})
    for remove in (False, True):
        left = table.leave_only(iter([keys.slice(0, 1), keys.slice(1)]), remove=remove)
        assert (left.count, sorted(left.shown.split(", ")), left.removed) == (3, ["1", "3", "5"], remove)
    assert fetch(engine, "SELECT id FROM answers ORDER BY id") == [(2,), (4,)]
    assert table.leave_only(iter([keys]), remove=True).removed is False


def test_rows_that_are_not_asked_are_counted_and_stay(engine):
    columns = {"id": [1, 1, 2, 2], "model": list("abab"), "custom_id": list("wxyz"), "status": ["s"] * 4}
    table = written(engine, pa.table(columns | {"run_id": ["r"] * 4}), key=("id", "model"))
    asked = pa.table({"model": ["a", "c"]})
    for remove in (False, True):
        left = table.leave_only([pa.table({"id": [1]})], asked=asked, remove=remove)
        assert (left.count, left.shown, left.removed, left.not_asked) == (1, "(2, a)", remove, 2)
    assert fetch(engine, "SELECT id, model FROM answers ORDER BY id, model") == [(1, "a"), (1, "b"), (2, "b")]


def test_many_rows_are_written_read_and_found_in_pieces(engine):
    rows = rows_of(*map(str, range(12_000)))
    table = written(engine, rows)
    assert sum(piece.num_rows for piece in table.batches("r", SCHEMA)) == 12_000
    assert table.find(rows.select(["id"]).slice(0, 250))["place"].to_pylist() == list(range(250))


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
    names = ["big", "price", "local", "at", "doc"]
    assert [generic_type(TYPED.field(name), is_key=False).compile(dialect=dialect) for name in names] == wanted


def test_a_text_key_is_short_enough_for_an_index():
    for dialect, wanted in ((mysql.dialect(), "VARCHAR(255)"), (mssql.dialect(), "NVARCHAR(255)")):
        assert generic_type(pa.field("id", pa.string()), is_key=True).compile(dialect=dialect) == wanted
