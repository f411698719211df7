"""Two keys that a table takes for one, and a key that it cannot hold, are named before anything is sent."""

import datetime
import math
import random
import string
import uuid
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.source.column_types import table_of
from greennode_batch.tables.key_values import KeyValues

COLUMNS = "answer text, status text, run_id text"
UTC = datetime.UTC


def check(table, *batches, requested=None):
    names = [name for name in table.key if name not in {"model", "sample"}]
    columns = [list(zip(*batch, strict=True)) if isinstance(batch[0], tuple) else [batch] for batch in batches]
    values = {name: KeyValues() for name in names}
    for batch in columns:
        for name, some in zip(names, batch, strict=True):
            values[name].add(some)
    table.check_keys(lambda: [table_of(batch, names) for batch in columns], values, requested=requested)


def make(db, kind, *, after="PRIMARY KEY (id)", name="answers"):
    db.run(f"CREATE TABLE {name} (id {kind} NOT NULL, {COLUMNS}, {after})")
    return db.table(name)


def statements_of(refused):
    return str(refused.value).partition("nothing is paid twice: ")[2].split("; ")


def make_folded(db):
    try:
        db.run("CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    except Exception as error:
        if "ICU is not supported" not in str(error):
            raise
        pytest.skip("this PostgreSQL has no ICU, and with it no collations that ignore case")


def moment(second, micro=0, zone=UTC):
    return datetime.datetime(2024, 1, 1, 12, 0, second, micro, tzinfo=zone)


@pytest.mark.parametrize(
    ("kind", "one", "other", "shown"),
    [
        ("numeric(10,2)", Decimal("1.001"), Decimal("1.002"), "1.001 and 1.002"),
        ("numeric(10,2)", 1.001, 1.002, "1.001 and 1.002"),
        ("numeric(3,0)", 1.4, 1.3, "1.4 and 1.3"),
        ("char(4)", "ab", "ab ", "ab and ab "),
        ("varchar(2)", "ab", "ab  ", "ab and ab  "),
        ("real", 0.1, 0.10000000001, "0.1 and 0.10000000001"),
        ("double precision", math.nan, float("nan"), "nan and nan"),
        ("timestamptz(0)", moment(1), moment(1, 100_000), "12:00:01"),
        ("timestamp(3)", moment(1, 1, None), moment(1, 2, None), "12:00:01"),
        ("date", moment(1, 0, None), moment(2, 0, None), "12:00:01"),
        ("uuid", str(uuid.UUID(int=10)), str(uuid.UUID(int=10)).upper(), "00a and "),
        ("bigint", "7", "07", "7 and 07"),
        ("inet", "10.0.0.1", "10.0.0.1/32", "10.0.0.1 and 10.0.0.1/32"),
        ("interval", "1 day", "24:00:00", "1 day and 24:00:00"),
        ("time(0)", "12:00:00.1", "12:00:00.2", "12:00:00.1 and"),
        ("boolean", "t", "true", "t and true"),
    ],
)
def test_keys_that_postgres_takes_for_one_are_named(on_postgres, kind, one, other, shown):
    table = make(on_postgres, kind)
    with pytest.raises(ConfigError, match="table answers takes different keys of the source for one") as refused:
        check(table, [one], [other])
    assert shown in str(refused.value)
    check(table, [one])
    assert on_postgres.fetch("SELECT * FROM answers") == []


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("numeric(10,2)", Decimal("1.001"), Decimal("1.002")),
        ("char(4)", "a", "a "),
        ("real", 0.1, 0.1 + 1e-9),
    ],
)
def test_the_statement_that_is_named_keeps_the_keys_apart(on_postgres, kind, one, other):
    table = make(on_postgres, kind)
    with pytest.raises(ConfigError) as refused:
        check(table, [one, other])
    on_postgres.run(*statements_of(refused))
    check(table, [one, other])


@pytest.mark.parametrize("where", ["column", "index"])
def test_a_collation_that_ignores_case_is_found_in_the_column_and_in_the_index(on_postgres, where):
    make_folded(on_postgres)
    if where == "column":
        table = make(on_postgres, "text COLLATE folded")
    else:
        table = make(on_postgres, "text", after="CHECK (true)")
        on_postgres.run("CREATE UNIQUE INDEX one ON answers (id COLLATE folded)")
    with pytest.raises(ConfigError, match="Anna and ANNA") as refused:
        check(table, ["Anna", "Bea"], ["ANNA"])
    check(table, ["Anna", "Bea"])
    if where == "column":
        on_postgres.run(*statements_of(refused))
        check(table, ["Anna", "Bea"], ["ANNA"])


@pytest.mark.parametrize("collation", ["NOCASE", "RTRIM"])
@pytest.mark.parametrize("where", ["column", "index"])
def test_a_collation_of_sqlite_is_found_in_the_column_and_in_the_index(open_database, collation, where):
    sqlite = open_database("sqlite3")
    if where == "column":
        table = make(sqlite, f"text COLLATE {collation}")
    else:
        table = make(sqlite, "text", after="CHECK (1)")
        sqlite.run(f"CREATE UNIQUE INDEX one ON answers (id COLLATE {collation})")
    one, other = ("Anna", "ANNA") if collation == "NOCASE" else ("Anna", "Anna ")
    with pytest.raises(ConfigError, match=f"{one} and {other}"):
        check(table, [one, "Bea"], [other])
    check(table, [one, "Bea"])


@pytest.mark.parametrize(
    ("kind", "one", "other"), [("integer", "7", "07"), ("numeric", "1.50", "1.5"), ("real", "1e3", "1000")]
)
def test_texts_that_sqlite_makes_one_number_of_are_named(open_database, kind, one, other):
    with pytest.raises(ConfigError, match=f"{one} and {other}"):
        check(make(open_database("sqlite3"), kind), [one, other])


def test_a_key_that_sqlite_makes_null_of_is_named(open_database):
    with pytest.raises(ConfigError, match="cannot hold the key nan: the database makes NULL of it"):
        check(make(open_database("sqlite3"), "double precision"), [1.0, math.nan])


@pytest.mark.parametrize(
    ("kind", "keys", "bad", "reason"),
    [
        ("integer", [1, 2**31], 2**31, "out of range for type integer"),
        ("numeric(3,1)", [1.5, 1000.5], 1000.5, "numeric field overflow"),
        ("varchar(3)", ["abc", "abcd"], "abcd", "too long for type character varying"),
        ("uuid", [str(uuid.UUID(int=1)), "none"], "none", "invalid input syntax for type uuid"),
        ("bigint", ["1", "one", "2"], "one", "invalid input syntax for type bigint"),
    ],
)
def test_a_key_that_its_column_cannot_hold_is_named(on_postgres, kind, keys, bad, reason):
    table = make(on_postgres, kind)
    with pytest.raises(ConfigError, match=f"table answers cannot hold the key {bad}: .*{reason}"):
        check(table, keys[:1], keys[1:])


def test_of_many_keys_the_first_that_does_not_fit_is_named(on_postgres):
    keys = [str(number) for number in range(3_000)]
    keys[1_234] = "bad"
    with pytest.raises(ConfigError, match="cannot hold the key bad: "):
        check(make(on_postgres, "bigint"), ["-1"], keys)


def test_a_key_that_no_index_holds_is_named_and_one_that_packs_well_is_not(on_postgres):
    noise = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=6_600))
    for table in (on_postgres.table("new"), make(on_postgres, "text")):
        with pytest.raises(ConfigError, match=r"index cannot hold the key .*\(6,600 characters\).*maximum 2704"):
            check(table, ["short", "x" * 6_600], ["y", noise])
        check(table, ["short", "x" * 6_600])
    assert not on_postgres.table("new").is_there(["id"])


def test_the_other_columns_of_the_key_take_their_room(on_postgres):
    table = on_postgres.table("new", ("id", "model", "sample"))
    requested = pa.table({"model": ["a", "meta/llama"], "sample": [1, 2]})
    check(table, ["x" * 6_600, "y"], requested=requested)
    assert not on_postgres.table("new").is_there(["id"])


def test_two_columns_share_the_room_of_an_index(on_postgres):
    letters = random.Random(2).choices(string.ascii_letters, k=4_000)
    table = on_postgres.table("new", ("id", "part"))
    with pytest.raises(ConfigError, match="its unique index cannot hold the key"):
        check(table, [("".join(letters[:2_000]), "".join(letters[2_000:]))])


@pytest.mark.parametrize("kind", ["RANGE", "LIST", "HASH"])
def test_a_key_without_a_partition_is_named(on_postgres, kind):
    on_postgres.run(f"CREATE TABLE answers (id bigint PRIMARY KEY, {COLUMNS}) PARTITION BY {kind} (id)")
    bounds = {
        "RANGE": "FOR VALUES FROM (0) TO (10)",
        "LIST": "FOR VALUES IN (1, 2)",
        "HASH": "FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    }[kind]
    with pytest.raises(ConfigError, match="table answers has no partition for the key 1"):
        check(on_postgres.table(), [1])
    on_postgres.run(f"CREATE TABLE answers_1 PARTITION OF answers {bounds}")
    check(on_postgres.table(), [1, 2])
    if kind == "HASH":
        return
    with pytest.raises(ConfigError, match="table answers has no partition for the key 77") as refused:
        check(on_postgres.table(), [1], [77])
    on_postgres.run(*statements_of(refused))
    check(on_postgres.table(), [1], [77])


class Watched:
    """Fails if the database is asked to compare keys."""

    def __init__(self, dialect, monkeypatch):
        monkeypatch.setattr(dialect, "create_staged", lambda *_: pytest.fail("the keys were sent to the database"))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("bigint", [1, -(2**63), 2**63 - 1]),
        ("integer", [2**31 - 1, -(2**31)]),
        ("numeric", [2**70, 1]),
        ("numeric", [Decimal("1.001"), Decimal("1.002"), 3]),
        ("text", ["Anna", "ANNA", "a ", "a", "ế" * 500]),
        ("varchar(6)", ["abcdef", "ế"]),
        ("uuid", [uuid.UUID(int=1), uuid.UUID(int=2)]),
        ("text", [uuid.UUID(int=1), uuid.UUID(int=2)]),
        ("date", [datetime.date(2024, 1, 1)]),
        ("timestamptz", [moment(1, 1), moment(1, 2)]),
        ("timestamp", [moment(1, 1, None), moment(1, 2, None)]),
        ("boolean", [True, False]),
    ],
)
def test_plain_keys_are_not_sent_to_be_compared(on_postgres, monkeypatch, kind, keys):
    table = make(on_postgres, kind)
    Watched(table.dialect, monkeypatch)
    check(table, keys)
    new = on_postgres.table("new")
    Watched(new.dialect, monkeypatch)
    check(new, keys)


@pytest.mark.parametrize(("kind", "keys"), [("bigint", [1, 2]), ("text", ["a", "A"]), ("integer", [2**40])])
def test_plain_keys_are_not_compared_in_sqlite_either(open_database, monkeypatch, kind, keys):
    table = make(open_database("sqlite3"), kind)
    Watched(table.dialect, monkeypatch)
    check(table, keys)


def test_by_sqlalchemy_the_database_compares_texts(generic):
    fold = "COLLATE NOCASE" if generic.is_sqlite else "COLLATE folded"
    if not generic.is_sqlite:
        make_folded(generic)
    table = make(generic, f"varchar(20) {fold}")
    for _ in range(2):
        with pytest.raises(ConfigError, match="Anna and ANNA"):
            check(table, ["Anna", "Bea"], ["ANNA"])
        check(table, ["Anna", "Bea"])


def test_a_table_without_the_key_is_left_to_the_check_of_its_columns(db):
    db.run("CREATE TABLE answers (other bigint)")
    check(db.table(), ["a"])


def test_no_keys_are_no_question(db):
    make(db, "char(4)")
    db.table().check_keys(list, {"id": KeyValues()})


texts = st.text("aAế _\u0301", max_size=4)
moments = st.builds(moment, st.integers(0, 2), st.sampled_from([0, 1, 400_000, 600_000]))
KEYS = {
    "text": texts,
    "varchar(3)": texts,
    "char(3)": texts,
    "bigint": st.integers(-3, 3) | st.sampled_from([2**63 - 1, 2**63]),
    "smallint": st.integers(-3, 3) | st.sampled_from([2**15 - 1, 2**15]),
    "numeric(3,1)": st.decimals(-200, 200, places=2, allow_nan=False),
    "numeric": st.decimals(-2, 2, places=2, allow_nan=False) | st.integers(-3, 3),
    "real": st.sampled_from([0.1, 0.10000000001, -0.0, 1e39, math.nan]),
    "double precision": st.sampled_from([0.1, 0.10000000001, -0.0, 1e39, math.nan]),
    "timestamptz": moments,
    "timestamptz(0)": moments,
    "date": st.dates(datetime.date(2024, 1, 1), datetime.date(2024, 1, 3)),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(list(KEYS)), is_new=st.booleans())
def test_keys_are_refused_exactly_where_the_table_would_not_have_a_row_for_each(on_postgres, data, kind, is_new):
    keys = data.draw(st.lists(KEYS[kind], min_size=1, max_size=5, unique=True))
    on_postgres.run("DROP TABLE IF EXISTS answers")
    table = on_postgres.table() if is_new else make(on_postgres, kind)
    try:
        check(table, keys)
        is_refused = False
    except ConfigError:
        is_refused = True
    rows = table_of([keys], ["id"])
    for name in ("answer", "status", "run_id"):
        rows = rows.append_column(name, pa.array(["a"] * len(keys)))
    if is_new:
        table.prepare(rows.schema)
    try:
        table.write([rows])
        stored = on_postgres.fetch("SELECT count(*) FROM answers")[0][0]
    except ConfigError:
        stored = None
    assert is_refused == (stored != len(keys))
