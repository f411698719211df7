import datetime
import sqlite3
import uuid
from decimal import Decimal

import duckdb
import psycopg
import psycopg2
import psycopg2.extras
import pyarrow as pa
import pytest

from greennode_batch.errors import ConfigError, RowError
from greennode_batch.source.sql import read_sql


def rows_of(source):
    columns = source.columns
    return [row for batch in source.batches for row in zip(*map(batch.values, columns), strict=True)]


@pytest.fixture
def sqlite():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER, text TEXT)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(number, f"row {number}") for number in range(25)])
    connection.commit()
    yield connection
    connection.close()


def test_postgres_rows_stay_on_the_server_until_they_are_asked_for(database):
    with psycopg.connect(database) as connection:
        source = read_sql(connection, "SELECT n AS id, repeat('x', 1000) AS text FROM generate_series(1, 200000) n")
        first = next(source.batches)
        held = connection.execute("SELECT count(*) FROM pg_cursors WHERE name LIKE 'greennode_%'").fetchone()
        assert held == (1,)
        assert source.columns == ("id", "text")
        assert len(first) == 5_000
        assert sum(len(batch) for batch in source.batches) == 195_000


def test_a_connection_that_commits_by_itself_streams_as_well(database):
    with psycopg.connect(database, autocommit=True) as connection:
        assert rows_of(read_sql(connection, "SELECT 1 AS id, '50%' AS text")) == [(1, "50%")]


def test_sqlite_rows_come_in_batches(sqlite):
    source = read_sql(sqlite, "SELECT * FROM t ORDER BY id", max_rows=10)
    assert [len(batch) for batch in source.batches] == [10, 10, 5]


@pytest.mark.parametrize("module", [psycopg, psycopg2], ids=lambda module: module.__name__)
@pytest.mark.parametrize(("section", "least", "ids"), [(None, 1, [1, 2, 3]), ("a", 2, [3]), ("' OR true --", 1, [])])
def test_parameters_are_bound_by_the_driver(database, module, section, least, ids):
    sql = (
        "SELECT id FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a')) AS rows (id, section) "
        "WHERE (%(section)s::text IS NULL OR section = %(section)s) AND id >= %(least)s AND section NOT LIKE '%%z'"
    )
    connection = module.connect(database)
    assert rows_of(read_sql(connection, sql, {"section": section, "least": least})) == [(one,) for one in ids]
    connection.close()


def test_parameters_are_written_as_the_driver_has_them(sqlite):
    source = read_sql(sqlite, "SELECT id FROM t WHERE id < :end AND text <> '100%'", {"end": 2})
    assert rows_of(source) == [(0,), (1,)]


def test_a_query_that_needs_another_parameter_says_which(database):
    with psycopg.connect(database) as connection, pytest.raises(ConfigError, match="section"):
        read_sql(connection, "SELECT %(section)s AS id", {"day": 1})


def test_a_query_without_rows_still_has_columns(sqlite, database):
    with psycopg.connect(database) as connection:
        assert read_sql(connection, "SELECT 1 AS id WHERE false").columns == ("id",)
    source = read_sql(sqlite, "SELECT id FROM t WHERE 0")
    assert (source.columns, rows_of(source)) == (("id",), [])


@pytest.mark.parametrize("sql", ["SELECT 1 AS a, 2 AS b, 3 AS a", "SELECT id AS a, text AS b, id AS a FROM t"])
def test_a_column_name_that_comes_twice_is_refused(sqlite, sql):
    with pytest.raises(ConfigError, match=r"column\(s\) a twice"):
        read_sql(sqlite, sql)


def test_a_statement_that_is_no_select_is_refused_and_changes_nothing(sqlite, database):
    with pytest.raises(ConfigError, match=r"must be a SELECT. Nothing was sent"):
        read_sql(sqlite, "DELETE FROM t")
    assert sqlite.execute("SELECT count(*) FROM t").fetchone() == (25,)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE t (id int)")
        connection.commit()
        with pytest.raises(ConfigError, match=r"the source query failed: syntax error.*must be one SELECT"):
            read_sql(connection, "INSERT INTO t VALUES (1)")
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_wrong_query_says_what_the_database_said(sqlite, database):
    with pytest.raises(ConfigError, match="no such table: nowhere"):
        read_sql(sqlite, "SELECT * FROM nowhere")
    with psycopg.connect(database) as connection, pytest.raises(ConfigError, match='relation "nowhere" does not exist'):
        read_sql(connection, "SELECT * FROM nowhere")


def test_a_query_that_fails_on_a_later_row_is_a_config_error(database):
    with psycopg.connect(database) as connection:
        source = read_sql(connection, "SELECT 1 / (3 - n) FROM generate_series(1, 5) n", max_rows=1)
        with pytest.raises(ConfigError, match="division by zero"):
            rows_of(source)


TYPES = """
    SELECT 9223372036854775807::int8 AS big, (-9223372036854775807 - 1)::int8 AS small,
        123456789012345678901234567.123::numeric AS digits, date '2026-01-31' AS day,
        timestamptz '2026-01-31 12:00:00.000001+02' AS moment, timestamp '2026-01-31 12:00' AS local,
        time '12:30' AS clock, interval '1 day 2 hours' AS span, true AS yes,
        '0b8d5bb9-7c64-4ac0-a7ad-0d0e6f4e0d52'::uuid AS uuid, '{"a": [1, null]}'::jsonb AS document,
        ARRAY['a', NULL] AS tags, 'x'::bytea AS image
    UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
"""
VALUES = {
    "big": 2**63 - 1,
    "small": -(2**63),
    "digits": Decimal("123456789012345678901234567.123"),
    "day": datetime.date(2026, 1, 31),
    "moment": datetime.datetime(2026, 1, 31, 10, 0, 0, 1, tzinfo=datetime.UTC),
    "local": datetime.datetime(2026, 1, 31, 12),  # noqa: DTZ001 - it has no zone
    "clock": datetime.time(12, 30),
    "span": datetime.timedelta(days=1, hours=2),
    "yes": True,
    "uuid": uuid.UUID("0b8d5bb9-7c64-4ac0-a7ad-0d0e6f4e0d52"),
    "document": {"a": [1, None]},
    "tags": ["a", None],
}
KEPT = VALUES | {
    "span": "1 day, 2:00:00",
    "uuid": "0b8d5bb9-7c64-4ac0-a7ad-0d0e6f4e0d52",
    "document": '{"a": [1, null]}',
    "tags": '["a", null]',
}


@pytest.mark.parametrize("driver", [psycopg, psycopg2])
def test_the_types_of_postgresql_survive(database, driver):
    connection = driver.connect(database)
    try:
        (batch,) = read_sql(connection, TYPES).batches
    finally:
        connection.close()
    expected = VALUES | ({"uuid": KEPT["uuid"]} if driver is psycopg2 else {})
    assert {name: batch.values(name)[0] for name in VALUES} == expected
    assert {name: batch.array(name).to_pylist() for name in VALUES} == {name: [KEPT[name], None] for name in VALUES}
    assert batch.array("big").type == pa.int64()
    with pytest.raises(ConfigError, match="column image holds bytes; encode it as text"):
        batch.array("image")


def test_wide_rows_are_fetched_a_few_at_a_time(database):
    with psycopg.connect(database) as connection:
        source = read_sql(
            connection, "SELECT n AS id, repeat('x', 1000000) AS text FROM generate_series(1, 60) n", max_bytes=8 << 20
        )
        sizes = [len(batch) for batch in source.batches]
    assert sum(sizes) == 60
    assert max(sizes) <= 9


def test_rows_that_come_as_dicts_are_rows(database):
    connections = [
        psycopg.connect(database, row_factory=psycopg.rows.dict_row),
        psycopg2.connect(database, cursor_factory=psycopg2.extras.RealDictCursor),
    ]
    for connection in connections:
        assert rows_of(read_sql(connection, "SELECT 1 AS id, 'x' AS text")) == [(1, "x")]
        connection.close()


def test_a_driver_that_is_not_known_by_name_is_read_as_pep_249_has_it():
    with duckdb.connect() as connection:
        source = read_sql(connection, "SELECT range AS id, 'x' AS text FROM range(7)", max_rows=3)
        assert [len(batch) for batch in source.batches] == [3, 3, 1]
        with pytest.raises(ConfigError, match=r"the source query failed: .*nowhere does not exist"):
            read_sql(connection, "SELECT * FROM nowhere")


def test_what_may_pass_stays_the_drivers_own_error(database, tmp_path):
    with psycopg.connect(database) as connection, psycopg.connect(database, autocommit=True) as other:
        source = read_sql(connection, "SELECT n FROM generate_series(1, 10) n", max_rows=1)
        next(source.batches)
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            rows_of(source)
    path = tmp_path / "rows.db"
    writer, reader = sqlite3.connect(path), sqlite3.connect(path, timeout=0)
    writer.execute("CREATE TABLE t (id INTEGER)")
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        read_sql(reader, "SELECT * FROM t")
    writer.close()
    reader.close()


# Values that Python has no exact value for

DRIVERS = pytest.mark.parametrize("driver", [psycopg, psycopg2], ids=lambda driver: driver.__name__)


@DRIVERS
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("date 'infinity'", "infinity"),
        ("timestamp '-infinity'", "-infinity"),
        ("timestamptz 'infinity'", "infinity"),
        ("date '12000-02-29'", "12000-02-29"),
        ("timestamptz '0044-03-15 12:00+00 BC'", "0044-03-15 12:00:00"),
        ("ARRAY[date '2026-01-31', date 'infinity']", "infinity"),
        ("time '24:00'", "24:00:00"),
        ("interval '1 month 2 days'", "1 mon 2 days"),
        ("interval '1 year'", "1 year"),
        ("interval '26 hours'", "26:00:00"),
        ("interval '-2 hours'", "-02:00:00"),
        ("interval '-1 day -0.5 seconds'", "-1 days -00:00:00.5"),
    ],
)
def test_a_value_that_python_would_change_is_an_error_with_column_and_key(database, driver, value, text):
    connection = driver.connect(database)
    sql = f"SELECT n AS id, CASE WHEN n = 7 THEN {value} END AS odd FROM generate_series(1, 9) n"
    source = read_sql(connection, sql, key=("id",))
    with pytest.raises(ConfigError, match=rf"query: column odd, row id=7: .*{text}.*CAST\(odd AS text\)"):
        rows_of(source)
    connection.close()


@DRIVERS
def test_times_are_read_in_utc_whatever_the_session_says(database, driver):
    connection = driver.connect(database, options="-c TimeZone=Asia/Tokyo -c DateStyle=German -c extra_float_digits=-5")
    sql = "SELECT timestamptz '2026-01-31 12:00+02' AS at, 0.1::float8 + 0.2 AS sum, date '2026-01-31' AS day"
    ((at, number, day),) = rows_of(read_sql(connection, sql))
    connection.close()
    assert (str(at), number, day) == ("2026-01-31 10:00:00+00:00", 0.1 + 0.2, datetime.date(2026, 1, 31))


def test_duckdb_reads_times_in_utc():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        ((at,),) = rows_of(read_sql(connection, "SELECT TIMESTAMPTZ '2026-01-31 12:00:00+02' AS at"))
    assert at.isoformat() == "2026-01-31T10:00:00+00:00"


# Types of the query, whatever the values are


@DRIVERS
@pytest.mark.parametrize("is_null", [True, False])
@pytest.mark.parametrize(
    ("value", "arrow"),
    [
        ("1::int2", pa.int64()),
        ("9.9::numeric(12, 2)", pa.decimal128(12, 2)),
        ("1::numeric(50, 3)", pa.decimal256(50, 3)),
        ("1.5::float4", pa.float64()),
        ("true", pa.bool_()),
        ("date '2026-01-31'", pa.date32()),
        ("timestamp '2026-01-31 12:00'", pa.timestamp("us")),
        ("timestamptz '2026-01-31 12:00+02'", pa.timestamp("us", "UTC")),
        ("time '12:00'", pa.time64("us")),
        ("timetz '12:00+07'", pa.string()),
        ("'x'::varchar(5)", pa.string()),
        ("'[1]'::jsonb", pa.string()),
        ("interval '2 hours'", pa.string()),
        ("ARRAY[1, 2]", pa.string()),
    ],
)
def test_a_column_has_the_type_of_the_query_also_without_a_value(database, driver, is_null, value, arrow):
    connection = driver.connect(database)
    sql = f"SELECT found.n FROM (SELECT 1) one LEFT JOIN (SELECT {value} AS n) found ON {not is_null}"
    source = read_sql(connection, sql)
    (batch,) = source.batches
    connection.close()
    assert batch.array("n").type == arrow
    assert batch.take([0]).array("n").type == arrow
    assert source.typed == {"n"}


def test_a_number_that_its_type_cannot_hold_is_an_error_with_its_row(database):
    with psycopg.connect(database) as connection:
        sql = "SELECT n AS id, CASE WHEN n = 2 THEN 'NaN' ELSE 1.5 END::numeric(5, 2) AS n FROM generate_series(1, 3) n"
        (batch,) = read_sql(connection, sql).batches
    with pytest.raises(RowError, match=r"column n: NaN is no decimal128\(5, 2\).*cast the column to text") as caught:
        batch.array("n")
    assert caught.value.row == 1


def test_a_number_without_declared_digits_has_the_type_of_its_values(database):
    with psycopg.connect(database) as connection:
        source = read_sql(connection, "SELECT 1.50::numeric AS n, 'x'::bytea AS b")
        (batch,) = source.batches
    assert (batch.array("n").type, source.typed) == (pa.decimal128(3, 2), frozenset())


def test_a_list_of_bytes_is_refused_by_its_columns_name(database):
    with psycopg.connect(database) as connection:
        (batch,) = read_sql(connection, "SELECT ARRAY['x'::bytea] AS images").batches
    with pytest.raises(ConfigError, match="column images holds bytes"):
        batch.array("images")
