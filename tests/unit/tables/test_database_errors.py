"""Errors of databases: which are final, and what of a row they show."""

import sqlite3

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.tables.database_errors import refusal

SECRET = "Nguyễn Văn A, 0912 345 678"
COLUMNS = "status text, run_id text"


def refused_by(db, rows):
    table = db.table()
    table.prepare(rows.schema)
    with pytest.raises(ConfigError, match="table answers did not accept the answers") as refused:
        table.write([rows])
    return refused


@pytest.mark.parametrize(
    "answer",
    [
        "text CHECK (length(answer) < 5)",
        "text UNIQUE",
        "text NOT NULL",
        "text CHECK (answer IN ('good', 'bad'))",
    ],
)
def test_what_a_database_refuses_at_the_write_is_final_and_shows_no_row(db, answer, caplog):
    db.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, answer {answer}, {COLUMNS})")
    refused = refused_by(db, db.rows_of(SECRET, SECRET, None))
    assert SECRET not in "".join(map(str, [refused.value, refused.getrepr(chain=False, style="value"), caplog.text]))
    assert not refused.value.is_retryable
    assert refused.value.__cause__ is None
    assert "its answers are safe in staging" in str(refused.value)
    assert "clear join_results" in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("int", 'invalid input syntax for type integer: "…" (column answer)'),
        ("date", 'invalid input syntax for type date: "…" (column answer)'),
        ("varchar(5)", "value too long for type character varying(5) (column answer)"),
        ("inet", 'invalid input syntax for type inet: "…" (column answer)'),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_column_alone(on_postgres, kind, words):
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, answer {kind}, {COLUMNS})")
    refused = refused_by(on_postgres, on_postgres.rows_of(f'"{SECRET}"'))
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_number_out_of_range_is_not_shown(on_postgres):
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, answer int, {COLUMNS})")
    refused = refused_by(on_postgres, on_postgres.rows_of("99999999999"))
    assert 'value "…" is out of range for type integer (column answer)' in str(refused.value)


def test_a_trigger_that_refuses_is_final(own):
    own.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, answer text, {COLUMNS})")
    if own.is_sqlite:
        own.run("CREATE TRIGGER no BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'closed on Sundays'); END")
    else:
        own.run(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION $$closed on Sundays$$; END'",
            "CREATE TRIGGER no BEFORE INSERT ON answers FOR EACH ROW EXECUTE FUNCTION no()",
        )
    assert "closed on Sundays" in str(refused_by(own, own.rows_of("a")).value)


def test_a_disk_that_is_full_is_tried_again_with_the_same_words(tmp_path, open_database):
    sqlite = open_database("sqlite3")
    table = sqlite.written(sqlite.rows_of("a"))
    sqlite.run("PRAGMA max_page_count = 3")
    with pytest.raises(GreenNodeError, match=r"database or disk is full.*safe in staging.*clear join_results") as full:
        table.write([sqlite.rows_of(*["long" * 1_000] * 50)])
    assert full.value.is_retryable


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (psycopg.errors.InsufficientPrivilege(), True),
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (psycopg.errors.GeneratedAlways(), True),
        (psycopg.errors.RaiseException(), True),
        (psycopg.errors.WithCheckOptionViolation(), True),
        (psycopg.errors.CardinalityViolation(), True),
        (psycopg.errors.ProgramLimitExceeded(), True),
        (psycopg.errors.ObjectNotInPrerequisiteState(), True),
        (psycopg.errors.DiskFull(), False),
        (psycopg.errors.SerializationFailure(), False),
        (psycopg.errors.DeadlockDetected(), False),
        (psycopg.errors.LockNotAvailable(), False),
        (psycopg.errors.AdminShutdown(), False),
        (psycopg.errors.DuplicateTable(), False),
        (psycopg.OperationalError("the connection is closed"), False),
        (psycopg.ProgrammingError("no code"), True),
        (sqlite3.OperationalError("no code"), False),
        (sa.exc.ProgrammingError("SELECT", {}, Exception("Access denied for user")), True),
        (sa.exc.ProgrammingError("CREATE", {}, Exception("Table 'answers' already exists")), False),
        (sa.exc.OperationalError("SELECT", {}, Exception("Lost connection")), False),
        (sa.exc.StatementError("SELECT", "", {}, ValueError("not a boolean value: 'x'")), True),
        (sa.exc.OperationalError("SELECT", {}, psycopg.errors.DiskFull()), False),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_only_somebody_s_change_helps_is_final(error, is_final):
    assert refusal(error).is_final is is_final


def test_a_locked_file_is_tried_again(tmp_path, open_database):
    sqlite = open_database("sqlite3")
    table = sqlite.written(sqlite.rows_of("a"))
    sqlite.opened.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(tmp_path / "target.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        table.write([sqlite.rows_of("b")])
    other.close()


def test_rows_without_a_table_are_final(own):
    table = own.written(own.rows_of("a"))
    own.run("ALTER TABLE answers RENAME COLUMN answer TO other")
    with pytest.raises(ConfigError, match="did not accept"):
        table.write([pa.table(own.rows_of("b"))])


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            (1366, f"Incorrect integer value: '{SECRET}' for column `v`"),
            "Incorrect integer value: … for column `v` (1366)",
        ),
        (f"(1062, Duplicate entry '{SECRET}' for key 'PRIMARY')", "(1062, Duplicate entry … for key 'PRIMARY')"),
        (
            f"(1366, Incorrect integer value: '{SECRET}' for column 'answer' at row 1)",
            "(1366, Incorrect integer value: … for column 'answer' at row 1)",
        ),
        (
            f"Violation of key. The duplicate key value is ({SECRET}).",
            "Violation of key. The duplicate key value is ….",
        ),
        (f'Could not convert string "{SECRET}" to INT32', "Could not convert string … to INT32"),
    ],
)
def test_values_in_the_messages_of_other_databases_are_left_out(words, shown):
    own = Exception(*words) if isinstance(words, tuple) else Exception(words)
    assert refusal(sa.exc.IntegrityError("INSERT", {}, own)).reason == shown
