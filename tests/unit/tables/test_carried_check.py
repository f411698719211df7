"""Values of the source that a table refuses in other columns than the key's are named before anything is sent."""

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
