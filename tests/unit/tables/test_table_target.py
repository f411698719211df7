"""What every target keeps to, whatever its database."""

import datetime
import re
import sqlite3
from contextlib import closing
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import JOB_ID
from greennode_batch.tables.fingerprint import fingerprint
from greennode_batch.tables.open_table import sql_table
from greennode_batch.tables.table_target import RefusedValuesError

# To upsert by, without a word about the types: each database has its own.
COLUMNS = "answer text, status text, run_id text"


def statement_of(refused):
    """The statement by which an error says that it is mended."""
    return str(refused.value).partition("nothing is paid twice: ")[2]


def test_writing_twice_writes_the_same_rows(db):
    db.written(db.rows_of("a", "b"))
    table = db.written(db.rows_of("a2", None, "c2", run_id="s"))
    assert db.fetch("SELECT id, answer FROM answers ORDER BY id") == [(1, "a2"), (2, None), (3, "c2")]
    assert list(table.batches("r", db.schema)) == []
    assert sorted(row["answer"] or "" for piece in table.batches("s", db.schema) for row in piece.to_pylist()) == [
        "",
        "a2",
        "c2",
    ]


def test_the_columns_of_another_are_left_as_they_are(db):
    db.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, mine varchar(9) DEFAULT 'new' NOT NULL, {COLUMNS})",
        "INSERT INTO answers (id, mine) VALUES (1, 'kept')",
    )
    db.written(db.rows_of("a", "b"))
    assert db.fetch("SELECT id, mine, answer FROM answers ORDER BY id") == [(1, "kept", "a"), (2, "new", "b")]


def test_values_survive_as_they_are(db):
    hard = ["", None, "'", '"', '""', "\\", "\\N", "\\.", "a\n\\.\nb", "\r\n", "a,b", "😀 tiếng Việt", "\u2028", " x "]
    db.written(db.rows_of(*hard, "NULL"))
    assert [row for (row,) in db.fetch("SELECT answer FROM answers ORDER BY id")] == [*hard, "NULL"]


def test_looking_makes_nothing(db):
    db.table().prepare(db.schema, create=False)
    assert not db.table().is_there(["id"])


def test_missing_columns_are_named_with_the_statements_that_add_them(db):
    db.run("CREATE TABLE answers (id bigint PRIMARY KEY, other text)")
    with pytest.raises(ConfigError, match=r"has no column answer, status, run_id \(it has id, other\)") as drift:
        db.table().prepare(db.schema)
    db.run(*statement_of(drift).split("; "))
    db.written(db.rows_of("a"))


def test_missing_columns_are_added_where_the_job_says_so(db):
    db.run("CREATE TABLE answers (id bigint PRIMARY KEY, mine text)", "INSERT INTO answers VALUES (1, 'kept')")
    table = db.table(add_columns=True)
    table.prepare(db.schema, create=False)
    assert not table.is_there(["answer"])
    for _ in range(2):
        table.prepare(db.schema)
    assert db.fetch("SELECT id, mine, answer, status FROM answers") == [(1, "kept", None, None)]
    table.write([db.rows_of("a", "b")])
    assert db.fetch("SELECT id, mine, answer FROM answers ORDER BY id") == [(1, "kept", "a"), (2, None, "b")]


def test_a_key_column_is_never_added(db):
    db.run(f"CREATE TABLE answers (number bigint PRIMARY KEY, {COLUMNS})")
    with pytest.raises(ConfigError, match="table answers has no column id"):
        db.table(add_columns=True).prepare(db.schema)


def test_a_table_without_a_fitting_unique_index_says_how_to_add_one(own):
    own.run(
        f"CREATE TABLE answers (id bigint, {COLUMNS}, UNIQUE (id, status))",
        "CREATE UNIQUE INDEX partial ON answers (id) WHERE id > 5",
    )
    with pytest.raises(ConfigError, match=r"no unique index on exactly \(id\)") as none:
        own.table().prepare(own.schema)
    own.run(statement_of(none))
    own.written(own.rows_of("a"))


def test_a_column_that_demands_a_value_is_found_before_anything_is_paid(db):
    db.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, mine text NOT NULL, {COLUMNS})")
    with pytest.raises(ConfigError, match="table answers requires a value in mine"):
        db.table().prepare(db.schema)


def test_several_models_share_a_key_column(db):
    rows = pa.table([[1, 1], ["a", "b"], ["s", "s"], ["r", "r"], ["m", "n"]], names=[*db.schema.names, "model"])
    db.written(rows, key=("id", "model"))
    assert len(db.fetch("SELECT * FROM answers")) == 2


@pytest.mark.parametrize(
    "name", ['x"; DROP TABLE precious; --', "Mixed Case", "tiếng Việt", "a'b", "select", "50%s", "a:b"]
)
def test_a_name_is_only_ever_a_name(db, name):
    db.run("CREATE TABLE precious (id int)")
    rows = db.rows_of("a", "b").append_column("custom_id", pa.array(["c", "d"]))
    table = db.written(rows.append_column(name, pa.array(["x", "y"])), name=name, key=("id", name))
    assert db.read(table, "r", "id", name) == [(1, "x"), (2, "y")]
    keys = pa.table({"id": [2, 1], name: ["y", "z"]})
    assert table.find(keys)["index"].to_pylist() == [0]
    left, _ = table.leave_only([keys], remove=True)
    assert (left.count, left.shown, db.read(table, "r", "id")) == (1, "(1, x)", [(2,)])
    assert db.fetch("SELECT * FROM precious") == []


@pytest.mark.parametrize("kind", ["psycopg", "postgresql+psycopg"])
def test_a_schema_may_stand_before_the_table(open_database, kind):
    db = open_database(kind)
    db.run('CREATE SCHEMA "My Schema"', "CREATE TABLE answers (id int)")
    rows = db.rows_of("a", "b").append_column("custom_id", pa.array(["c", "d"]))
    table = db.written(rows, name="My Schema.answers")
    assert table.find(rows.select(["id"]))["index"].to_pylist() == [0, 1]
    left, _ = table.leave_only([pa.table({"id": [1]})], remove=True)
    assert left.shown == "2"
    assert db.fetch('SELECT answer FROM "My Schema".answers') == [("a",)]


@pytest.mark.parametrize("name", ["", "a.", ".b", "a\x00"])
def test_what_is_no_name_is_refused(own, name):
    with pytest.raises(ConfigError, match="cannot be the name of a table or column"):
        own.table(name)


def test_more_parts_than_schema_and_table_are_refused(db):
    with pytest.raises(ConfigError, match=r"table a\.b\.c: the name has too many parts; write table or schema\.table"):
        db.table("a.b.c")


def test_a_shard_that_fails_half_way_leaves_nothing_and_shows_no_row(db):
    db.run(
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer text CHECK (answer <> 'bad'), status text, run_id text)"
    )
    table = db.written(db.rows_of("old"))
    rows = db.rows_of(*["fine"] * 6_000, "bad")
    with pytest.raises(ConfigError, match=r"table answers did not accept the answers.*safe in.*at no cost") as refused:
        table.write([rows.slice(0, 5_500), rows.slice(5_500)])
    assert "[parameters" not in str(refused.value)
    assert db.fetch("SELECT id, answer FROM answers") == [(1, "old")]
    table.write([db.rows_of("new")])
    assert db.fetch("SELECT answer FROM answers") == [("new",)]


def test_the_answers_that_a_table_refuses_are_found_unless_it_refuses_most_of_them_or_something_else(db):
    db.run(
        "CREATE TABLE answers (id bigint PRIMARY KEY CHECK (id < 300), answer text CHECK (answer <> 'bad'), "
        "status text, run_id text, custom_id text)"
    )

    def refused(*answers, first=1):
        rows = db.rows_of(*answers).append_column("custom_id", pa.array([f"c{n}" for n in range(len(answers))]))
        rows = rows.set_column(0, "id", pa.array(range(first, first + len(answers))))
        return db.table().refused_answers([rows.slice(0, 50), rows.slice(50)], ["answer"])

    few = ["fine"] * 100
    few[7] = few[99] = "bad"
    found = refused(*few)
    assert found.keys() == {"c7", "c99"}
    start = r"answer: the column answer of table answers \(text\) refuses it: .*; the answer was: bad"
    assert re.fullmatch(start, found["c7"], re.IGNORECASE)
    assert refused("bad").keys() == {"c0"}
    assert refused(*["bad"] * 50) == refused(*few, first=250) == {}
    assert db.fetch("SELECT * FROM answers") == []


@pytest.mark.parametrize("raised", ["RAISE EXCEPTION $$no$$", "RAISE EXCEPTION $$no$$ USING ERRCODE = $$TK001$$"])
def test_an_answer_that_a_trigger_refuses_is_found(on_postgres, raised):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, custom_id text, {COLUMNS})",
        f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
        f"'BEGIN IF NEW.answer = $$b$$ THEN {raised}; END IF; RETURN NEW; END'",
        "CREATE TRIGGER no BEFORE INSERT OR UPDATE ON answers FOR EACH ROW EXECUTE FUNCTION no()",
    )
    rows = on_postgres.rows_of("a", "b", "c").append_column("custom_id", pa.array(["c0", "c1", "c2"]))
    with pytest.raises(RefusedValuesError, match="no"):
        on_postgres.table().write([rows])
    words = "answer: the column answer of table answers (text) refuses it: no; the answer was: b"
    assert on_postgres.table().refused_answers([rows], ["answer"]) == {"c1": words}


def test_a_trigger_that_keeps_a_row_out_is_noticed_and_nothing_is_written(own):
    table = own.written(own.rows_of("old", "old"))
    if own.is_sqlite:
        own.run("CREATE TRIGGER keep BEFORE UPDATE ON answers WHEN NEW.id = 2 BEGIN SELECT RAISE(IGNORE); END")
    else:
        own.run(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER keep BEFORE UPDATE ON answers FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION keep()",
        )
    with pytest.raises(ConfigError, match="accepted 2 of 3 rows: a trigger or rule rejects some"):
        table.write([own.rows_of("new"), own.rows_of("new", "new", "new").slice(1)])
    assert own.fetch("SELECT answer FROM answers ORDER BY id") == [("old",), ("old",)]


def test_connections_that_commit_by_themselves_still_write_whole_shards(database, tmp_path):
    with (
        psycopg.connect(database, autocommit=True) as postgres,
        closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as sqlite,
    ):
        for connection in (postgres, sqlite):
            table = sql_table(connection, "answers", ("id",))
            rows = pa.table({"id": [1, 2], "answer": ["a", "b"], "status": ["s", "s"], "run_id": ["r", "r"]})
            table.prepare(rows.schema)
            table.write([rows])
            broken = pa.table([[1, 2], ["x", "y"], ["s", None], ["r", "r"]], schema=rows.schema)
            with pytest.raises(ConfigError):
                table.write([broken])
            found = connection.execute("SELECT answer FROM answers ORDER BY id").fetchall()
            connection.rollback()
            assert found == [("a",), ("b",)]


def test_many_rows_are_written_read_and_found_in_pieces(db):
    rows = db.rows_of(*map(str, range(12_000))).append_column("custom_id", pa.array(["c"] * 12_000))
    table = db.written(rows)
    assert fingerprint(table.batches("r", rows.schema), ("id",)) == fingerprint([rows], ("id",))
    for _ in range(2):
        assert sorted(table.find(rows.select(["id"]).slice(0, 250))["index"].to_pylist()) == list(range(250))


def test_rows_whose_keys_the_source_has_no_more_are_told_and_removed(db):
    table = db.written(db.rows_of(*"abcde"))
    keys = pa.table({"id": pa.array([2, 4, 9], pa.int64())})
    for remove in (False, True):
        left, _ = table.leave_only(iter([keys.slice(0, 1), keys.slice(1)]), remove=remove)
        assert (left.count, sorted(left.shown.split(", ")), left.removed) == (3, ["1", "3", "5"], remove)
    assert db.fetch("SELECT id FROM answers ORDER BY id") == [(2,), (4,)]
    assert table.leave_only(iter([keys]), remove=True)[0].removed is False


def test_rows_that_are_not_asked_are_counted_and_stay(db):
    columns = {"id": [1, 1, 2, 2], "model": list("abab"), "status": ["s"] * 4}
    table = db.written(pa.table(columns | {"run_id": ["r"] * 4}), key=("id", "model"))
    requested = pa.table({"model": ["a", "c"]})
    for remove in (False, True):
        left, _ = table.leave_only([pa.table({"id": [1]})], requested=requested, remove=remove)
        assert (left.count, left.shown, left.removed, left.not_requested) == (1, "(2, a)", remove, 2)
    assert db.fetch("SELECT id, model FROM answers ORDER BY id, model") == [(1, "a"), (1, "b"), (2, "b")]


def test_a_digest_is_the_runs_and_all_others_and_that_of_what_is_removed(on_postgres):
    rows = on_postgres.rows_of(*"abc").append_column("custom_id", pa.array(list("xyz")))
    table = on_postgres.written(rows)
    table.write([rows.slice(1, 1).set_column(3, "run_id", pa.array(["s"]))])
    before = table.digests("r")
    assert before == table.digests("r")
    assert (before.all_rows.rows, before.others.rows) == (3, 1)
    assert table.digests("s").others.rows == 2
    on_postgres.run("UPDATE answers SET status = 'failed' WHERE id = 2")
    assert table.digests("r").others != before.others
    on_postgres.run("UPDATE answers SET status = 'succeeded' WHERE id = 2")
    _, removed = table.leave_only([pa.table({"id": [1, 3]})], remove=True)
    assert removed == before.others
    assert table.digests("r").all_rows == before.all_rows.without(removed)


def test_of_a_table_that_several_jobs_write_each_sees_its_own_rows(db):
    schema = db.schema.append(pa.field(JOB_ID, pa.string()))
    owners = ["one", "one", "it's %s", None, None]
    rows = db.rows_of(*"abcde").append_column(schema.field(JOB_ID), pa.array(owners, pa.string()))
    table = db.written(rows)

    def read(job_id):
        return sorted(row["id"] for piece in table.batches("r", db.schema, job_id=job_id) for row in piece.to_pylist())

    assert (read(None), read("one"), read("it's %s"), read("two")) == ([1, 2, 3, 4, 5], [1, 2], [3], [])
    table.take_over(pa.table({"id": [1, 3, 4, 9]}), job_id="it's %s")
    assert (read("one"), read("it's %s")) == ([1, 2], [3, 4])
    keys = pa.table({"id": [1]})
    requested = pa.table({"answer": ["b", "c", "e"]})
    left, _ = table.leave_only([keys], requested=requested, job_id="it's %s", remove=False)
    assert (left.count, left.shown, left.not_requested) == (1, "3", 1)
    assert table.leave_only([keys], job_id="it's %s", remove=True)[0].count == 2
    assert read(None) == [1, 2, 5]


def test_a_table_that_does_not_say_whose_its_rows_are_tells_all_of_them(db):
    table = db.written(db.rows_of("a", "b"))
    assert [piece.num_rows for piece in table.batches("r", db.schema, job_id="one")] == [2]
    assert table.leave_only([pa.table({"id": [1]})], job_id="one", remove=True)[0].count == 1


def test_digests_are_of_one_job_s_rows(on_postgres):
    schema = on_postgres.schema.append(pa.field("custom_id", pa.string())).append(pa.field(JOB_ID, pa.string()))
    rows = on_postgres.rows_of("a", "b", "c")
    table = on_postgres.written(pa.table([*rows.columns, ["x"] * 3, ["one", "two", None]], schema=schema))
    before = table.digests("r", job_id="one")
    assert (before.all_rows.rows, before.others.rows, table.digests("s", job_id="one").others.rows) == (1, 0, 1)
    on_postgres.run("DELETE FROM answers WHERE id > 1")
    assert table.digests("r", job_id="one") == before
    assert table.digests("r") == before


def test_rows_of_a_table_with_a_schema_and_several_key_columns_are_taken_over(on_postgres):
    on_postgres.run("CREATE SCHEMA s")
    schema = pa.schema([("k", pa.string()), *on_postgres.schema, (JOB_ID, pa.string())])
    rows = on_postgres.rows_of("a", "b")
    rows = pa.table([["x", "y"], *rows.columns, pa.nulls(2, pa.string())], schema=schema)
    table = on_postgres.written(rows, name="s.answers", key=("id", "k"))
    table.take_over(pa.table({"id": [1, 1, 2], "k": ["x", "y", "x"]}), job_id="one")
    assert on_postgres.fetch("SELECT id, greennode_job FROM s.answers ORDER BY id") == [(1, "one"), (2, None)]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("numeric(10,2)", Decimal("1.001")),
        ("numeric(10,2)", Decimal("1.5")),
        ("numeric(10,2)", 1.001),
        ("char(4)", "ab"),
        ("char(4)", "ab "),
        ("char(4)", "abcd"),
        ("real", 0.1),
        ("timestamp(0)", datetime.datetime(2024, 1, 1, 12, 0, 0, 600_000)),  # noqa: DTZ001 - it has no zone
        ("uuid", "0A000000-0000-0000-0000-000000000000"),
    ],
)
@pytest.mark.parametrize("driver", ["psycopg", "postgresql+psycopg", "postgresql+psycopg2"])
def test_a_row_is_found_and_written_again_by_the_form_of_its_key_in_the_table(open_database, driver, kind, key):
    db = open_database(driver)
    db.run(f"CREATE TABLE answers (id {kind} PRIMARY KEY, answer text, status text, run_id text, custom_id text)")
    rows = pa.table({"id": [key], "answer": ["a"], "status": ["failed"], "run_id": ["r"], "custom_id": ["c"]})
    table = db.table()
    for _ in range(2):
        assert table.write([rows]) == (1, 0)
        assert table.find(rows.select(["id"]))["index"].to_pylist() == [0]
    assert len(db.fetch("SELECT id FROM answers")) == 1
    assert table.leave_only([rows.select(["id"])], remove=False)[0].count == 0


def test_a_constraint_that_is_checked_at_the_commit_is_named_like_any_other(on_postgres):
    on_postgres.run(
        "CREATE TABLE labels (label text PRIMARY KEY)",
        "CREATE TABLE answers (id bigint PRIMARY KEY, status text, run_id text, "
        "answer text REFERENCES labels DEFERRABLE INITIALLY DEFERRED)",
    )
    table = on_postgres.table()
    with pytest.raises(ConfigError, match=r"did not accept the answers: .*foreign key.*clear join_results") as refused:
        table.write([on_postgres.rows_of("secret")])
    assert "secret" not in str(refused.value)
    assert on_postgres.fetch("SELECT * FROM answers") == []
