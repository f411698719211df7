import datetime
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.tables.open_table import sql_table

JSON = {b"greennode": b"json"}
UTC = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("answer", pa.string()),
        pa.field("status", pa.string()),
        pa.field("run_id", pa.string()),
    ]
)


def rows_of(*answers, run_id="r", schema=SCHEMA):
    return pa.table(
        [range(1, len(answers) + 1), answers, ["succeeded"] * len(answers), [run_id] * len(answers)], schema=schema
    )


@pytest.fixture(params=["postgres", "sqlite"])
def connection(request, tmp_path):
    if request.param == "sqlite":
        made = sqlite3.connect(tmp_path / "target.db")
    else:
        made = psycopg.connect(request.getfixturevalue("database"))
    with closing(made):
        yield made


@pytest.fixture
def postgres_connection(database):
    with psycopg.connect(database) as made:
        yield made


def fetch(connection, statement):
    rows = connection.execute(statement).fetchall()
    connection.rollback()
    return rows


def run(connection, *statements):
    for statement in statements:
        connection.execute(statement)
    connection.commit()


def written(connection, rows, name="answers", key=("id",)):
    table = sql_table(connection, name, key)
    table.prepare(rows.schema)
    assert table.write([rows]) == rows.num_rows
    return table


def read(table, run_id, schema):
    rows = [row for piece in table.batches(run_id, schema) for row in piece.to_pylist()]
    return sorted(tuple(row[name] for name in schema.names) for row in rows)


def test_writing_twice_writes_the_same_rows(connection):
    written(connection, rows_of("a", "b"))
    table = written(connection, rows_of("a2", "b2", "c2", run_id="s"))
    assert fetch(connection, "SELECT id, answer FROM answers ORDER BY id") == [(1, "a2"), (2, "b2"), (3, "c2")]
    columns = pa.schema(list(SCHEMA)[:2])
    assert read(table, "r", columns) == []
    assert read(table, "s", columns) == [(1, "a2"), (2, "b2"), (3, "c2")]


def test_the_columns_of_another_are_left_as_they_are(connection):
    run(
        connection,
        "CREATE TABLE answers (id bigint PRIMARY KEY, mine text DEFAULT 'new', answer text, status text, run_id text)",
        "INSERT INTO answers (id, mine) VALUES (1, 'kept')",
    )
    written(connection, rows_of("a", "b"))
    assert fetch(connection, "SELECT id, mine, answer FROM answers ORDER BY id") == [(1, "kept", "a"), (2, "new", "b")]


def test_values_survive_as_they_are(connection):
    hard = [
        "",
        None,
        "'",
        '"',
        '""',
        "\\",
        "\\N",
        "\\.",
        "a\n\\.\nb",
        "\r\n",
        "a,b",
        "😀 tiếng Việt",
        "\u2028",
        "NULL",
        " x ",
    ]
    written(connection, rows_of(*hard))
    assert [row for (row,) in fetch(connection, "SELECT answer FROM answers ORDER BY id")] == hard


def test_a_nul_becomes_a_replacement_character_in_postgres(postgres_connection):
    schema = pa.schema([*SCHEMA, pa.field("doc", pa.string(), metadata=JSON)])
    docs = [json.dumps({"a\x00": "\x00", "b": "\\u0000"}), None]
    rows = rows_of("a\x00b", "c").append_column(schema.field("doc"), pa.array(docs))
    written(postgres_connection, rows)
    assert fetch(postgres_connection, "SELECT answer, doc FROM answers ORDER BY id") == [
        ("a\ufffdb", {"a\ufffd": "\ufffd", "b": "\\u0000"}),
        ("c", None),
    ]


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
        pa.field("doc", pa.string(), metadata=JSON),
        ("status", pa.string()),
        ("run_id", pa.string()),
    ]
)
ROW = {
    "id": 1,
    "flag": True,
    "big": 2**64 - 1,
    "score": 0.1,
    "price": Decimal("12.50"),
    "day": datetime.date(2024, 2, 29),
    "local": datetime.datetime(2024, 1, 1, 12),  # noqa: DTZ001 - it has no zone
    "at": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "doc": '{"a": [1]}',
    "status": "succeeded",
    "run_id": "r",
}
NOTHING = {**dict.fromkeys(TYPED.names), "id": 2, "status": "missing", "run_id": "r"}


def test_postgres_gets_its_own_types(postgres_connection):
    written(postgres_connection, pa.Table.from_pylist([ROW, NOTHING], TYPED))
    found = fetch(postgres_connection, "SELECT * FROM answers ORDER BY id")
    assert found[0] == (*({**ROW, "big": Decimal(2**64 - 1), "doc": {"a": [1]}}).values(),)
    assert found[1] == tuple(NOTHING.values())
    kinds = fetch(
        postgres_connection,
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'answers'",
    )
    assert dict(kinds) == {
        "id": "bigint",
        "flag": "boolean",
        "big": "numeric",
        "score": "double precision",
        "price": "numeric",
        "day": "date",
        "local": "timestamp without time zone",
        "at": "timestamp with time zone",
        "doc": "jsonb",
        "status": "text",
        "run_id": "text",
    }


def test_sqlite_gets_text_for_what_it_has_no_type_for():
    with closing(sqlite3.connect(":memory:")) as connection:
        written(connection, pa.Table.from_pylist([ROW, NOTHING], TYPED))
        ((_, flag, big, score, price, day, local, at, doc, *_), nothing) = fetch(connection, "SELECT * FROM answers")
    assert (flag, big, score, price, day) == (1, str(2**64 - 1), 0.1, "12.50", "2024-02-29")
    assert (local[:19], at[:19], doc) == ("2024-01-01 12:00:00", "2024-01-01 00:00:00", '{"a": [1]}')
    assert nothing == tuple(NOTHING.values())


def test_missing_columns_are_named_with_the_statements_that_add_them(connection):
    run(connection, "CREATE TABLE answers (id bigint PRIMARY KEY, other text)")
    table = sql_table(connection, "answers", ("id",))
    with pytest.raises(ConfigError, match=r"has no column answer, status, run_id \(it has id, other\)") as drift:
        table.prepare(SCHEMA)
    for statement in str(drift.value).partition("nothing is paid twice: ")[2].split("; "):
        run(connection, statement)
    written(connection, rows_of("a"))


def test_missing_columns_are_added_where_the_job_says_so(connection):
    run(connection, "CREATE TABLE answers (id bigint PRIMARY KEY, mine text)", "INSERT INTO answers VALUES (1, 'kept')")
    table = sql_table(connection, "answers", ("id",), add_columns=True)
    table.prepare(SCHEMA, create=False)
    with pytest.raises(Exception, match="answer"):
        fetch(connection, "SELECT answer FROM answers")
    connection.rollback()
    for _ in range(2):
        table.prepare(SCHEMA)
    assert fetch(connection, "SELECT id, mine, answer, status FROM answers") == [(1, "kept", None, None)]
    table.write([rows_of("a", "b")])
    assert fetch(connection, "SELECT id, mine, answer FROM answers ORDER BY id") == [(1, "kept", "a"), (2, None, "b")]


def test_a_key_column_is_never_added(connection):
    run(connection, "CREATE TABLE answers (number bigint PRIMARY KEY, answer text, status text, run_id text)")
    with pytest.raises(ConfigError, match="table answers has no column id"):
        sql_table(connection, "answers", ("id",), add_columns=True).prepare(SCHEMA)


def test_a_table_without_a_fitting_unique_index_says_how_to_add_one(connection):
    run(
        connection,
        "CREATE TABLE answers (id bigint, answer text, status text, run_id text, UNIQUE (id, status))",
        "CREATE UNIQUE INDEX partial ON answers (id) WHERE id > 5",
    )
    table = sql_table(connection, "answers", ("id",))
    with pytest.raises(ConfigError, match=r"no unique index on exactly \(id\)") as none:
        table.prepare(SCHEMA)
    run(connection, str(none.value).partition("nothing is paid twice: ")[2])
    written(connection, rows_of("a"))


def test_a_deferred_key_cannot_be_upserted_by_and_one_with_included_columns_can(postgres_connection):
    columns = "id bigint, answer text, status text, run_id text"
    run(
        postgres_connection,
        f"CREATE TABLE deferred ({columns}, UNIQUE (id) DEFERRABLE)",
        f"CREATE TABLE included ({columns}, UNIQUE (id) INCLUDE (answer))",
    )
    with pytest.raises(ConfigError, match="no unique index"):
        sql_table(postgres_connection, "deferred", ("id",)).prepare(SCHEMA)
    written(postgres_connection, rows_of("a"), name="included")


def test_a_column_that_demands_a_value_is_found_before_anything_is_paid(connection):
    run(
        connection,
        "CREATE TABLE answers (id bigint PRIMARY KEY, mine text NOT NULL, answer text, status text, run_id text)",
    )
    with pytest.raises(ConfigError, match="table answers demands a value in mine"):
        sql_table(connection, "answers", ("id",)).prepare(SCHEMA)


def test_several_models_share_a_key_column(connection):
    schema = pa.schema([*SCHEMA, ("model", pa.string())])
    rows = pa.table([[1, 1], ["a", "b"], ["s", "s"], ["r", "r"], ["m", "n"]], schema=schema)
    written(connection, rows, key=("id", "model"))
    assert len(fetch(connection, "SELECT * FROM answers")) == 2


@pytest.mark.parametrize("name", ['x"; DROP TABLE precious; --', "Mixed Case", "tiếng Việt", "a'b", "select", "50%s"])
def test_a_name_is_only_ever_a_name(connection, name):
    run(connection, "CREATE TABLE precious (id int)")
    schema = pa.schema([*SCHEMA, (name, pa.string())])
    rows = rows_of("a", "b").append_column(name, pa.array(["x", "y"]))
    table = written(connection, rows.cast(schema), name=name)
    assert read(table, "r", pa.schema([("id", pa.int64()), (name, pa.string())])) == [(1, "x"), (2, "y")]
    assert fetch(connection, "SELECT * FROM precious") == []


def test_a_schema_may_stand_before_the_table(database):
    with psycopg.connect(database) as connection:
        run(connection, 'CREATE SCHEMA "My Schema"', "CREATE TABLE answers (id int)")
        written(connection, rows_of("a"), name="My Schema.answers")
        assert fetch(connection, 'SELECT answer FROM "My Schema".answers') == [("a",)]


@pytest.mark.parametrize("name", ["", "a.", ".b", "a\x00"])
def test_what_is_no_name_is_refused(connection, name):
    with pytest.raises(ConfigError, match="is not a name of a table or column"):
        sql_table(connection, name, ("id",))


def test_more_parts_than_schema_and_table_are_refused(connection):
    with pytest.raises(ConfigError, match=r"table a\.b\.c: name it as table or as schema\.table"):
        sql_table(connection, "a.b.c", ("id",))


def test_a_name_that_postgres_would_cut_is_refused(postgres_connection):
    long = "ệ" * 22
    schema = pa.schema([*SCHEMA, (long, pa.string())])
    with pytest.raises(ConfigError, match=f"the name '{long}' is longer than PostgreSQL's 63 bytes"):
        sql_table(postgres_connection, "answers", ("id",)).prepare(schema)


def test_a_shard_that_fails_half_way_leaves_nothing(connection):
    run(
        connection,
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer text CHECK (answer <> 'bad'), status text, run_id text)",
    )
    table = written(connection, rows_of("old"))
    rows = rows_of(*["fine"] * 6_000, "bad")
    with pytest.raises(ConfigError, match=r"table answers does not take the answers.*safe in staging.*at no cost"):
        table.write([rows.slice(0, 5_500), rows.slice(5_500)])
    assert fetch(connection, "SELECT id, answer FROM answers") == [(1, "old")]
    table.write([rows_of("new")])
    assert fetch(connection, "SELECT answer FROM answers") == [("new",)]


def test_a_trigger_that_keeps_a_row_out_is_noticed_and_nothing_is_written(connection):
    table = written(connection, rows_of("old", "old"))
    if isinstance(connection, sqlite3.Connection):
        run(
            connection,
            "CREATE TRIGGER keep BEFORE UPDATE ON answers WHEN NEW.id = 2 BEGIN SELECT RAISE(IGNORE); END",
        )
    else:
        run(
            connection,
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER keep BEFORE UPDATE ON answers FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION keep()",
        )
    with pytest.raises(ConfigError, match="took 2 of 3 rows: a trigger or rule keeps some out"):
        table.write([rows_of("new"), rows_of("new", "new", "new").slice(1)])
    assert fetch(connection, "SELECT answer FROM answers ORDER BY id") == [("old",), ("old",)]


def test_a_value_that_its_column_cannot_hold_is_a_config_error(postgres_connection):
    run(
        postgres_connection,
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer int, status text, run_id text)",
    )
    with pytest.raises(ConfigError, match="invalid input syntax for type integer"):
        written(postgres_connection, rows_of("words"))


def test_connections_that_commit_by_themselves_still_write_whole_shards(database, tmp_path):
    with (
        psycopg.connect(database, autocommit=True) as postgres,
        closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as sqlite,
    ):
        for connection in (postgres, sqlite):
            table = written(connection, rows_of("a", "b"))
            broken = pa.table([[1, 2], ["x", "y"], ["s", None], ["r", "r"]], schema=SCHEMA)
            with pytest.raises(ConfigError):
                table.write([broken])
            assert fetch(connection, "SELECT answer FROM answers ORDER BY id") == [("a",), ("b",)]


def test_workers_who_make_and_write_one_table_at_once_all_succeed(database):
    barrier = threading.Barrier(4)

    def work(number):
        with psycopg.connect(database) as connection:
            barrier.wait()
            written(connection, rows_of(*[f"{number}-{place}" for place in range(50)]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with psycopg.connect(database) as connection:
        answers = [answer.partition("-")[0] for (answer,) in fetch(connection, "SELECT answer FROM answers")]
    assert len(answers) == 50
    assert len(set(answers)) == 1


def test_a_connection_of_another_driver_is_refused():
    with pytest.raises(ConfigError, match="a target on builtins needs an engine of SQLAlchemy"):
        sql_table(object(), "answers", ("id",))
