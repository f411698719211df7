"""What would refuse a run's rows is found before anything is paid, and named with the statement that helps."""

import logging
import sqlite3
from contextlib import closing
from typing import Annotated, Literal

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import Field, create_model

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.errors import ConfigError
from greennode_batch.tables.open_table import sql_table

COLUMNS = "answer text, status text, run_id text"
UNANSWERED = pa.schema([("id", pa.int64()), *((name, pa.string()) for name in ("answer", "status", "run_id"))])
ROLE = "greennode_limited"


def unanswered(*ids):
    count = len(ids) or 1
    columns = [ids or [1], [None] * count, ["failed"] * count, ["r"] * count]
    return pa.table(columns, schema=UNANSWERED)


def prove(table, rows=None, **options):
    rows = unanswered() if rows is None else rows
    table.prepare(rows.schema)
    table.prove(rows, given=["id"], **options)


def statements_of(refused):
    return str(refused.value).partition("nothing is paid twice: ")[2].split("; ")


@pytest.fixture
def limited(database, request):
    """A table as a role opens it that has no rights but those that the test grants."""
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'limited'")
        owner.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
        try:
            dsn = make_conninfo(**conninfo_to_dict(database) | {"user": ROLE, "password": "limited"})
            with closing(psycopg.connect(dsn)) as connection:
                yield lambda name="answers": sql_table(connection, name, ("id",))
        finally:
            owner.execute(f"DROP OWNED BY {ROLE} CASCADE")
            owner.execute(f"DROP ROLE {ROLE}")


def test_a_table_that_takes_the_rows_is_as_it_was(db):
    db.written(db.rows_of("a"))
    prove(db.table(), removes=True)
    assert db.fetch("SELECT id, answer FROM answers") == [(1, "a")]


def test_a_table_that_is_not_there_is_tried_without_being_made(own):
    own.table().prove(unanswered(), given=["id"])
    assert not own.table().is_there(["id"])


def test_a_column_that_is_to_be_added_is_tried_without_being_added(own):
    own.run("CREATE TABLE answers (id bigint PRIMARY KEY, status text, run_id text)")
    own.table(add_columns=True).prove(unanswered(), given=["id"])
    assert not own.table().is_there(["answer"])


def test_an_identity_that_is_always_generated_is_named_with_the_statement_that_opens_it(on_postgres):
    on_postgres.run(f"CREATE TABLE answers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {COLUMNS})")
    with pytest.raises(ConfigError, match=r"table answers: id is an identity column GENERATED ALWAYS") as refused:
        prove(on_postgres.table())
    on_postgres.run(*statements_of(refused))
    prove(on_postgres.table())


def test_a_generated_column_is_named(db):
    kind = "STORED" if not db.is_sqlite else "VIRTUAL"
    db.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, status text, run_id text, "
        f"answer text GENERATED ALWAYS AS (status) {kind})"
    )
    with pytest.raises(ConfigError, match="table answers: answer is a generated column"):
        prove(db.table())


def test_an_answer_that_may_not_be_null_is_refused_with_all_such_columns(db):
    db.run(
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer text NOT NULL DEFAULT '', status text NOT NULL, "
        "error text NOT NULL, run_id text NOT NULL)"
    )
    rows = unanswered().append_column("error", pa.nulls(1, pa.string()))
    with pytest.raises(ConfigError, match="answer, error must not be NULL, and a row without an answer") as refused:
        prove(db.table(), rows)
    if not db.is_sqlite:
        db.run(*statements_of(refused))
        prove(db.table(), rows)


@pytest.mark.parametrize(
    "constraint",
    ["CHECK (answer IS NOT NULL)", "CHECK (status <> 'failed')"],
)
def test_a_constraint_that_no_row_without_an_answer_meets_is_refused(on_postgres, constraint):
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS}, CONSTRAINT strict {constraint})")
    with pytest.raises(ConfigError, match='relation "answers" violates check constraint "strict"') as refused:
        prove(on_postgres.table())
    assert "(1, null" not in str(refused.value)
    on_postgres.run(*statements_of(refused))
    prove(on_postgres.table())


def test_a_domain_that_allows_no_null_is_refused(on_postgres):
    on_postgres.run(
        "CREATE DOMAIN filled AS text NOT NULL",
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer filled, status text, run_id text)",
    )
    with pytest.raises(ConfigError, match="answer must not be NULL"):
        prove(on_postgres.table())


def test_no_trigger_hears_of_the_trial(on_postgres):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'",
        "CREATE TRIGGER refuse BEFORE INSERT ON answers FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    prove(on_postgres.table())


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        ("SELECT", "GRANT SELECT, INSERT, UPDATE, DELETE ON"),
        ("SELECT, INSERT", "GRANT SELECT, INSERT, UPDATE, DELETE ON"),
        ("INSERT, UPDATE", "GRANT SELECT, INSERT, UPDATE, DELETE ON"),
        ("SELECT, INSERT, UPDATE", "GRANT SELECT, INSERT, UPDATE, DELETE ON"),
    ],
)
def test_a_right_that_is_missing_is_named_with_its_grant(on_postgres, limited, granted, missing):
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})", f"GRANT {granted} ON answers TO {ROLE}")
    with pytest.raises(ConfigError, match="table answers: permission denied for table answers") as refused:
        prove(limited(), removes=True)
    assert statements_of(refused) == [f'{missing} "answers" TO "{ROLE}"']
    on_postgres.run(*statements_of(refused))
    prove(limited(), removes=True)


def test_rights_on_the_columns_that_a_run_uses_are_enough(on_postgres, limited):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS}, secret text)",
        f"GRANT SELECT (id, {COLUMNS.replace(' text', '')}) ON answers TO {ROLE}",
        f"GRANT INSERT (id, {COLUMNS.replace(' text', '')}) ON answers TO {ROLE}",
        f"GRANT UPDATE (id, {COLUMNS.replace(' text', '')}) ON answers TO {ROLE}",
    )
    prove(limited())


@pytest.mark.parametrize(
    ("id_type", "more", "words"),
    [
        ("integer", "CHECK (answer IS NOT NULL)", "CHECK constraint failed"),
        ("text", "CHECK (id <> 1)", "CHECK constraint failed"),
        ("blob", "CHECK (true)) STRICT; --", "cannot store INT value in BLOB column"),
    ],
)
def test_rows_without_an_answer_are_tried_in_sqlite(open_database, id_type, more, words):
    sqlite = open_database("sqlite3")
    sqlite.run(f"CREATE TABLE answers (id {id_type} PRIMARY KEY, {COLUMNS}, {more})".replace("; --)", ""))
    with pytest.raises(ConfigError, match=words):
        prove(sqlite.table())
    assert sqlite.fetch("SELECT * FROM answers") == []


def test_a_text_that_is_no_number_does_not_fit_sqlites_rowid(open_database):
    sqlite = open_database("sqlite3")
    sqlite.run(f"CREATE TABLE answers (id integer PRIMARY KEY, {COLUMNS})")
    rows = unanswered().set_column(0, "id", pa.array(["T-1"]))
    with pytest.raises(ConfigError, match="datatype mismatch"):
        prove(sqlite.table(), rows)


def test_rows_are_deleted_only_where_the_job_removes_them(on_postgres, limited):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})",
        f"GRANT SELECT, INSERT, UPDATE ON answers TO {ROLE}",
    )
    prove(limited())


def test_a_schema_where_the_role_may_make_no_table_is_named_with_its_grant(on_postgres, limited):
    with pytest.raises(ConfigError, match="table answers: permission denied for schema public") as refused:
        prove(limited())
    with pytest.raises(ConfigError, match="table answers: permission denied for schema public"):
        limited().prove(unanswered(), given=["id"])
    on_postgres.run(*statements_of(refused))
    prove(limited())


def test_a_schema_that_is_not_there_is_named(on_postgres):
    with pytest.raises(ConfigError, match='schema "mine" does not exist') as refused:
        prove(on_postgres.table("mine.answers"))
    on_postgres.run(*statements_of(refused))
    prove(on_postgres.table("mine.answers"))


def test_a_database_where_the_role_may_make_no_temporary_table_is_named(database, on_postgres, limited):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})",
        f"GRANT SELECT, INSERT, UPDATE ON answers TO {ROLE}",
        "REVOKE TEMPORARY ON DATABASE test FROM PUBLIC",
    )
    try:
        with pytest.raises(ConfigError, match="permission denied to create temporary tables") as refused:
            prove(limited())
        on_postgres.run(*statements_of(refused))
        prove(limited())
    finally:
        on_postgres.run("GRANT TEMPORARY ON DATABASE test TO PUBLIC")


def test_a_sequence_behind_a_default_is_tried(on_postgres, limited):
    on_postgres.run(
        f"CREATE TABLE answers (number bigserial, id bigint PRIMARY KEY, {COLUMNS})",
        f"GRANT SELECT, INSERT, UPDATE ON answers TO {ROLE}",
    )
    with pytest.raises(ConfigError, match="permission denied for sequence answers_number_seq") as refused:
        prove(limited())
    on_postgres.run(*statements_of(refused))
    prove(limited())


def test_row_level_security_without_a_policy_for_the_role_is_found(on_postgres, limited):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})",
        "ALTER TABLE answers ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON answers TO {ROLE}",
    )
    with pytest.raises(ConfigError, match="violates row-level security policy") as refused:
        prove(limited())
    on_postgres.run(*statements_of(refused))
    prove(limited(), removes=True)
    assert on_postgres.fetch("SELECT * FROM answers") == []


@pytest.mark.parametrize("policy", ["SELECT USING (true)", "INSERT WITH CHECK (true)", "ALL USING (id > 5)"])
def test_policies_that_do_not_cover_all_that_a_run_does_are_found(on_postgres, limited, policy):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})",
        "ALTER TABLE answers ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON answers TO {ROLE}",
        f"CREATE POLICY mine ON answers FOR {policy}",
    )
    with pytest.raises(ConfigError, match="row-level security"):
        prove(limited())


def test_a_policy_that_hides_rows_from_removal_is_found(on_postgres, limited):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})",
        "ALTER TABLE answers ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON answers TO {ROLE}",
        *(
            f"CREATE POLICY for_{use} ON answers FOR {use} {rule}"
            for use, rule in {
                "SELECT": "USING (true)",
                "INSERT": "WITH CHECK (true)",
                "UPDATE": "USING (true)",
            }.items()
        ),
    )
    prove(limited())
    with pytest.raises(ConfigError, match="row-level security hides rows that this job writes from DELETE") as refused:
        prove(limited(), removes=True)
    on_postgres.run(*statements_of(refused))
    prove(limited(), removes=True)


@pytest.mark.parametrize("view", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_is_refused_with_the_table_behind_it(on_postgres, view):
    on_postgres.run(
        f"CREATE TABLE mine (id bigint PRIMARY KEY, {COLUMNS})", f"CREATE {view} answers AS SELECT * FROM mine"
    )
    with pytest.raises(ConfigError, match=f"table answers is a {view.lower()}.*behind it: mine"):
        prove(on_postgres.table())


def test_a_view_of_sqlite_is_refused(open_database):
    sqlite = open_database("sqlite3")
    sqlite.run(f"CREATE TABLE mine (id bigint PRIMARY KEY, {COLUMNS})", "CREATE VIEW answers AS SELECT * FROM mine")
    with pytest.raises(ConfigError, match="table answers is a view"):
        prove(sqlite.table())


def test_a_view_that_takes_no_rows_is_found_by_any_way(generic):
    generic.run(
        f"CREATE TABLE mine (id bigint PRIMARY KEY, {COLUMNS})",
        "CREATE VIEW answers AS SELECT DISTINCT id, answer, status, run_id FROM mine",
    )
    with pytest.raises(ConfigError, match=r"table answers: cannot (update|modify)"):
        prove(generic.table())


def test_a_foreign_table_is_refused(on_postgres):
    on_postgres.run(
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER far FOREIGN DATA WRAPPER nowhere",
        f"CREATE FOREIGN TABLE answers (id bigint, {COLUMNS}) SERVER far",
    )
    try:
        with pytest.raises(ConfigError, match="table answers is a foreign table"):
            prove(on_postgres.table())
    finally:
        on_postgres.run("DROP FOREIGN DATA WRAPPER nowhere CASCADE")


def test_a_table_that_is_divided_by_what_is_not_in_the_key_says_so(on_postgres):
    on_postgres.run(f"CREATE TABLE answers (id bigint, {COLUMNS}, day date) PARTITION BY RANGE (day)")
    with pytest.raises(ConfigError, match=r"partitioned by day.*add day to the key of the job"):
        prove(on_postgres.table())


def test_a_divided_table_takes_rows(on_postgres):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS}) PARTITION BY RANGE (id)",
        "CREATE TABLE answers_1 PARTITION OF answers FOR VALUES FROM (0) TO (10)",
    )
    prove(on_postgres.table())


@pytest.mark.parametrize(
    "index", ["answer", "status, run_id", "lower(answer)", "run_id) WHERE (answer IS NOT NULL", "answer, (id + 1)"]
)
def test_a_unique_index_that_answers_can_break_is_refused(on_postgres, index):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})", f"CREATE UNIQUE INDEX one ON answers ({index})"
    )
    if "id + 1" in index:  # it has the whole key in it
        prove(on_postgres.table())
        return
    with pytest.raises(ConfigError, match=r"table answers: the unique index one on .* two answers may be") as refused:
        prove(on_postgres.table())
    on_postgres.run(*statements_of(refused))
    prove(on_postgres.table())


def test_a_unique_column_of_the_answers_is_refused_and_one_beside_the_key_is_not(db):
    db.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS}, UNIQUE (id, answer))",
        f"CREATE TABLE others (id bigint PRIMARY KEY, {COLUMNS}, UNIQUE (answer))",
    )
    prove(db.table())
    with pytest.raises(ConfigError, match=r"table others: the unique index .* on \(answer\)"):
        prove(db.table("others"))


def test_an_exclusion_over_answers_is_refused(on_postgres):
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS}, CONSTRAINT apart EXCLUDE USING btree (answer WITH =))"
    )
    with pytest.raises(ConfigError, match="index apart") as refused:
        prove(on_postgres.table())
    on_postgres.run(*statements_of(refused))
    prove(on_postgres.table())


def limited_rows(limit):
    marked = pa.field("answer", pa.string(), metadata={b"greennode max characters": str(limit)} if limit else None)
    return unanswered().cast(pa.schema([UNANSWERED.field("id"), marked, *list(UNANSWERED)[2:]]))


@pytest.mark.parametrize(("limit", "is_warned"), [(None, True), (41, True), (40, False)])
def test_an_answer_that_may_be_longer_than_its_column_is_warned_of(db, caplog, limit, is_warned):
    db.run("CREATE TABLE answers (id bigint PRIMARY KEY, answer varchar(40), status text, run_id text)")
    with caplog.at_level(logging.WARNING):
        prove(db.table(), limited_rows(limit))
    warned = "holds texts of at most 40 characters. Declare Field(max_length=40) in the answer model, or"
    assert (warned in caplog.text) == (is_warned and not db.is_sqlite)


@pytest.mark.parametrize(("name", "length"), [("status", 13), ("run_id", 2), ("custom_id", 31)])
def test_a_column_that_is_too_short_for_certain_is_refused(on_postgres, name, length):
    columns = dict.fromkeys(("answer", "status", "run_id", "custom_id"), "text") | {name: f"varchar({length})"}
    on_postgres.run(
        f"CREATE TABLE answers (id bigint PRIMARY KEY, {', '.join(' '.join(one) for one in columns.items())})"
    )
    rows = unanswered().append_column("custom_id", pa.array(["c" * 32]))
    rows = rows.set_column(3, "run_id", pa.array(["run"]))
    with pytest.raises(ConfigError, match=f"the column {name} holds {length} characters, and this job") as refused:
        prove(on_postgres.table(), rows)
    on_postgres.run(*statements_of(refused))
    prove(on_postgres.table(), rows)


def test_a_connection_that_may_only_read_is_refused(database, on_postgres):
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})")
    with closing(psycopg.connect(f"{database}?options=-c%20default_transaction_read_only%3Don")) as connection:
        table = sql_table(connection, "answers", ("id",))
        with pytest.raises(
            ConfigError, match=r"answers: cannot execute CREATE TABLE AS in a read-only.*primary server"
        ):
            prove(table)
        with pytest.raises(ConfigError, match="table others: cannot execute CREATE TABLE in a read-only"):
            prove(sql_table(connection, "others", ("id",)))


@pytest.mark.parametrize("opened", ["file", "pragma", "engine"])
def test_a_file_that_may_only_be_read_is_refused(tmp_path, opened):
    with closing(sqlite3.connect(tmp_path / "target.db")) as made:
        made.execute(f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS})")
    path = f"file:{tmp_path}/target.db"
    if opened == "engine":
        engine = sa.create_engine(f"sqlite:///{path}?mode=ro&uri=true")
        with pytest.raises(ConfigError, match=r"table answers: attempt to write a readonly.*opened for writing"):
            prove(sql_table(engine, "answers", ("id",)))
        engine.dispose()
        return
    with closing(sqlite3.connect(f"{path}?mode={'ro' if opened == 'file' else 'rw'}", uri=True)) as connection:
        if opened == "pragma":
            connection.execute("PRAGMA query_only = on")
        with pytest.raises(ConfigError, match=r"table answers: attempt to write a readonly.*opened for writing"):
            prove(sql_table(connection, "answers", ("id",)))


def answers_of(model):
    """Rows without an answer of this model."""
    (field,) = AnswerReader(model).fields
    schema = pa.schema([("id", pa.int64()), field, ("status", pa.string()), ("run_id", pa.string())])
    return pa.table([[1], [None], ["failed"], ["r"]], schema=schema)


def model_of(kind):
    return create_model("Answer", value=kind)


@pytest.mark.parametrize("kind", ["mood", "mood_domain"])
def test_a_word_of_the_answer_model_that_an_enumeration_lacks_is_refused_with_its_statement(on_postgres, kind):
    on_postgres.run("CREATE TYPE mood AS ENUM ('happy')", "CREATE DOMAIN mood_domain AS mood")
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, value {kind}, status text, run_id text)")
    rows = answers_of(model_of(Literal["happy", "it's"] | None))
    with pytest.raises(
        ConfigError, match=r"value is mood, an enumeration without \"it's\", which the answer"
    ) as refused:
        prove(on_postgres.table(), rows)
    on_postgres.run(*statements_of(refused))
    prove(on_postgres.table(), rows)


@pytest.mark.parametrize(
    ("kind", "declared", "advice"),
    [
        ("smallint", int, "Declare Field(ge=-32768, le=32767) in the answer model, or change the column"),
        ("smallint", Annotated[int, Field(ge=0, lt=32769)], "Declare Field(ge"),
        ("smallint", Annotated[int, Field(ge=0, lt=32768)], None),
        ("smallint", Literal[1, 5], None),
        ("smallint", Literal[1, 70_000], "Declare Field(ge"),
        ("mood", str, "Declare Literal['happy', 'calm'] in the answer model"),
        ("mood", Literal["calm"], None),
        ("numeric(5,2)", float, 'change the column: ALTER TABLE "answers" ALTER COLUMN "value" TYPE double precision'),
        ("real", float, "To accept all of them, change the column"),
        ("bigint", int, None),
        ("double precision", float, None),
    ],
)
def test_a_column_that_may_be_too_narrow_for_an_answer_is_warned_of(on_postgres, caplog, kind, declared, advice):
    on_postgres.run("CREATE TYPE mood AS ENUM ('happy', 'calm')")
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, value {kind}, status text, run_id text)")
    with caplog.at_level(logging.WARNING):
        prove(on_postgres.table(), answers_of(model_of(declared)))
    assert advice in caplog.text if advice else not caplog.text


def test_the_limits_of_a_strict_table_of_sqlite_and_of_reflected_columns_are_read(open_database):
    strict, generic = open_database("sqlite3"), open_database("postgresql+psycopg")
    strict.run("CREATE TABLE answers (id INTEGER PRIMARY KEY, value INTEGER, status TEXT, run_id TEXT) STRICT")
    rows = answers_of(model_of(float))
    (limit,) = strict.table().prove(rows, given=["id"])
    assert limit.holds.startswith("whole numbers from -9,223,372")
    generic.run("CREATE TYPE mood AS ENUM ('happy')")
    for kind, declared, held in (
        ("mood", str, "one of happy"),
        ("numeric(5,2)", float, "numbers of 3 digits before the point and 2 behind it"),
        ("smallint", int, "whole numbers from -32,768 to 32,767"),
        ("real", float, "numbers of about 7 digits, up to 3.4e38"),
        ("uuid", str, "UUIDs"),
    ):
        generic.run("DROP TABLE IF EXISTS answers")
        generic.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, value {kind}, status text, run_id text)")
        (limit,) = generic.table().prove(answers_of(model_of(declared)), given=["id"])
        assert limit.holds == held
