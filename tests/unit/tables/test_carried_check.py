"""Values of the source that a table refuses in other columns than the key's are named before anything is sent."""

from decimal import Decimal

import pyarrow as pa
import pytest

from greennode_batch.errors import ConfigError

COLUMNS = "answer text, status text, run_id text"


def check(table, *batches, given=("id", "email")):
    names = [*table.key, *(name for name in given if name not in table.key)]
    tables = [pa.table([list(column) for column in zip(*rows, strict=True)], names=names) for rows in batches]
    table.check_carried(lambda chosen: (one.select(list(chosen)) for one in tables), given)


def make(db, email, *more, key="PRIMARY KEY (id)"):
    db.run(f"CREATE TABLE answers (id bigint, email {email}, {COLUMNS}, {', '.join([key, *more])})")
    return db.table()


def statements_of(refused):
    return str(refused.value).partition("nothing is paid twice: ")[2].split("; ")


def test_a_null_that_the_table_does_not_take_is_named_by_its_row(db):
    table = make(db, "text NOT NULL")
    check(table, [(1, "a")], [(2, "b")])
    with pytest.raises(ConfigError, match="email must not be NULL, and it is NULL in the row 3") as refused:
        check(table, [(1, "a")], [(2, "b"), (3, None)])
    if not db.is_sqlite:
        db.run(*statements_of(refused))
        check(table, [(3, None)])


@pytest.mark.parametrize("kind", ["varchar(3)", "char(3)"])
def test_a_text_that_is_too_long_is_named_by_its_row(on_postgres, kind):
    table = make(on_postgres, kind)
    check(table, [(1, "abc"), (2, "ế  ế"[:3]), (3, "ab     "), (4, None)])
    with pytest.raises(ConfigError, match="email holds 3 characters, and the row 2 has 4") as refused:
        check(table, [(1, "abc")], [(2, "abcd")])
    on_postgres.run(*statements_of(refused))
    check(table, [(2, "abcd")])


def test_two_rows_with_one_value_of_a_unique_column_are_found(own):
    table = make(own, "text", "UNIQUE (email)")
    check(table, [(1, "a"), (2, None)], [(3, None), (4, "b")])
    with pytest.raises(ConfigError, match=r"a unique index on \(email\) refuses the row 2, because another row of the"):
        check(table, [(1, "a")], [(2, "a")])


def test_a_value_that_a_row_of_another_key_has_is_found(own):
    table = make(own, "text", "UNIQUE (email)")
    own.run("INSERT INTO answers (id, email) VALUES (1, 'a'), (2, 'b')")
    check(table, [(1, "a")], [(2, "c")])
    check(table, [(1, "b"), (2, "a")])
    with pytest.raises(ConfigError, match=r"refuses the row 3, because a row of the table has the same"):
        check(table, [(1, "a")], [(3, "b")])


def test_a_part_of_the_key_that_is_unique_alone_is_compared(own):
    make(own, "text", "UNIQUE (id)", key="PRIMARY KEY (id, email)")
    table = own.table(key=("id", "email"))
    check(table, [(1, "a"), (2, "a")])
    with pytest.raises(ConfigError, match=r"a unique index on \(id\) refuses the row \(1, b\)"):
        check(table, [(1, "a")], [(1, "b")])


def test_a_table_that_limits_nothing_is_not_worth_reading_the_rows(db):
    table = make(db, "text")
    table.check_carried(lambda _: pytest.fail("the rows were read"), ["id", "email"])
    db.table("missing").check_carried(lambda _: pytest.fail("the rows were read"), ["id", "email"])


@pytest.mark.parametrize(
    ("kind", "arrow", "held", "not_held", "words"),
    [
        ("smallint", pa.int64(), [1, None], 70_000, r"email \(smallint\) holds whole numbers from -32,768 to 32,767"),
        ("numeric(5,2)", pa.float64(), [1.25], 12345.678, "holds numbers of 3 digits before the point and 2 behind"),
        (
            "numeric(5,2)",
            pa.decimal128(10, 3),
            [Decimal(1)],
            Decimal("1.125"),
            "holds numbers of 3 digits before the point and 2 behind",
        ),
        ("real", pa.float64(), [0.1], 1e300, "holds numbers of about 7 digits"),
        ("varchar(3)", pa.int64(), [123], 1234, "holds texts of at most 3 characters"),
        ("timestamp(0)", pa.timestamp("us"), [1_000_000], 1, "with 0 digits of a second"),
        ("mood", pa.string(), ["happy"], "it's", "holds one of happy, and the row 9 has another value"),
        ("time(0)", pa.time64("us"), [1_000_000], 1, "with 0 digits of a second"),
        ("numeric(5,1)", pa.string(), ["1.50", " 1e1 "], "1.55", "numbers of 4 digits before the point and 1 behind"),
        ("date", pa.string(), ["January 8, 1999"], "2026-01-31 12:00", "dates as 2026-01-31, without a time"),
        ("timestamp", pa.string(), ["2026-01-31 12:00"], "2026-01-31 12:00+07", "without a zone"),
        ("interval(0)", pa.string(), ["1 day, 2:00:00", "PT5S"], "0:00:00.5", "with 0 digits of a second"),
        ("interval minute", pa.string(), ["2 hours", "1 day", "00:01:00"], "PT90S", "in whole minutes"),
        ("interval year", pa.string(), ["2 years", "0"], "1 year 1 mon", "in whole years"),
    ],
)
def test_a_value_beyond_a_column_is_named_by_its_row(on_postgres, kind, arrow, held, not_held, words):
    on_postgres.run("CREATE TYPE mood AS ENUM ('happy')")
    table = make(on_postgres, kind)

    def checked(*values):
        ids = [*range(1, len(values)), 9]
        rows = pa.table({"id": ids, "email": pa.array(values, arrow)})
        table.check_carried(lambda names: [rows.select(list(names))], ("id", "email"))

    checked(*held)
    with pytest.raises(ConfigError, match=words) as refused:
        checked(*held, not_held)
    assert "and the row 9 has another value. Nothing was sent" in str(refused.value)
    on_postgres.run(*statements_of(refused))
    checked(*held, not_held)


@pytest.mark.parametrize(
    ("kind", "held", "not_held"),
    [
        ("uuid", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "secret"),
        ("inet", "10.0.0.1", "10.0.0.256"),
        ("smallint", " 7 ", "70000"),
        ("numeric(5,2)", "1.5", "12345.678"),
        ("jsonb", '{"a": 1}', "{"),
        ("date", "January 8, 1999", "2026-02-30"),
        ("int4range", "[1,5)", "[5,1)"),
        ("text[]", '["a", null]', '["a"'),
        ("positive", "5", "-5"),
    ],
)
def test_a_text_that_only_the_database_can_read_is_tried_there(on_postgres, kind, held, not_held):
    on_postgres.run("CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
    table = make(on_postgres, kind)
    check(table, [(1, held)], [(2, None)])
    with pytest.raises(ConfigError, match=r"table answers cannot hold the row 4: .*Nothing was sent") as refused:
        check(table, [(1, held), (2, None)], [(3, held), (4, not_held), (5, held)])
    assert not_held not in str(refused.value)


def test_a_number_that_a_domain_refuses_is_named_by_its_row(on_postgres):
    on_postgres.run("CREATE DOMAIN positive AS bigint CHECK (VALUE > 0)")
    table = make(on_postgres, "positive")
    check(table, [(1, 5)])
    with pytest.raises(ConfigError, match=r"cannot hold the row 2: value for domain positive violates"):
        check(table, [(1, 5), (2, -5)])


def test_constraints_on_columns_of_the_source_are_tried_with_all_rows(on_postgres):
    table = make(on_postgres, "text", "CONSTRAINT is_mail CHECK (email LIKE '%@%')", "CHECK (length(answer) > 3)")
    rows = [(number, f"{number}@b") for number in range(30)]
    check(table, rows, [(98, None)])
    with pytest.raises(
        ConfigError, match=r"the constraint is_mail on \(email\) refuses the row 99: it demands"
    ) as refused:
        check(table, rows, [(99, "nobody")])
    on_postgres.run(*statements_of(refused))
    check(table, rows, [(99, "nobody")])


def test_a_row_that_a_foreign_key_refers_to_must_be_there(on_postgres):
    on_postgres.run('CREATE TABLE "Mails" ("The mail" text, id bigint, PRIMARY KEY ("The mail", id))')
    on_postgres.run("""INSERT INTO "Mails" VALUES ('a', 1)""")
    more = 'CONSTRAINT known FOREIGN KEY (email, id) REFERENCES "Mails" ("The mail", id)'
    table = make(on_postgres, "text", more, "FOREIGN KEY (id) REFERENCES answers (id)")
    check(table, [(1, "a"), (2, None)])
    with pytest.raises(
        ConfigError, match=r'known on \(email, id\) refuses the row 2: "Mails" has no row with this The mail'
    ):
        check(table, [(1, "a"), (2, "a")])


def test_a_constraint_that_cannot_be_tried_is_left_to_the_write(on_postgres):
    on_postgres.run("CREATE FUNCTION fails(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'")
    table = make(on_postgres, "text", "CHECK (fails(email))")
    check(table, [(1, "a")])
