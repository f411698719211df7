import sqlite3
from collections import Counter

import psycopg
import psycopg2
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.source.partition import Part
from greennode_batch.source.sql_partition import read_sql_part


def rows_of(connection, sql, key, part):
    rows = read_sql_part(connection, sql, key, part)
    return [row for batch in rows.batches for row in zip(*map(batch.values, rows.columns), strict=True)]


def parts_of(dsn, sql, key=("id",), *, total=4):
    """The rows of each part, read on a connection of its own."""
    parts = []
    for number in range(total):
        with psycopg.connect(dsn) as connection:
            parts.append(rows_of(connection, sql, key, Part(number, total)))
    return parts


@pytest.mark.parametrize(
    "key",
    [
        "i",
        "i::numeric / 7",
        "-i::bigint * 100000000000",
        "'key ' || i",
        "md5(i::text)::uuid",
        "timestamptz '2026-01-31 12:00+02' + i * interval '1 hour'",
        "date '2026-01-31' + i",
        "i / 3.0::float8",
        "ARRAY[i, i + 1]",
        "('{\"a\": ' || i || '}')::jsonb",
    ],
)
def test_each_row_falls_to_one_part_whatever_the_type_of_the_key(database, key):
    sql = f"SELECT i, {key} AS id FROM generate_series(1, 200) i"
    parts = parts_of(database, sql)
    assert Counter(row[0] for part in parts for row in part) == Counter(range(1, 201))
    # A hash: no part is left out, and none has it all.
    assert all(20 < len(part) < 80 for part in parts)


def test_a_row_whose_key_is_null_falls_to_a_part_so_that_it_is_refused_as_usual(database):
    sql = 'SELECT NULLIF(i, 7) AS id, NULLIF(i, 7) AS "the second""" FROM generate_series(1, 50) i'
    for key in (("id",), ("id", 'the second"')):
        found = [row for part in parts_of(database, sql, key) for row in part]
        assert len(found) == 50
        assert (None, None) in found


def test_the_division_does_not_hang_on_the_sessions_time_zone_or_formats(database):
    sql = (
        "SELECT i, timestamptz '2026-01-31 12:00+02' + i * interval '1 hour' AS id, i / 3.0::float8 AS number "
        "FROM generate_series(1, 100) i"
    )
    found = []
    for number, zone in enumerate(["UTC", "Asia/Ho_Chi_Minh", "America/New_York"]):
        options = f"-c TimeZone={zone} -c IntervalStyle=iso_8601 -c extra_float_digits={-number}"
        with psycopg.connect(database, options=options) as connection:
            found += [row[0] for row in rows_of(connection, sql, ("id", "number"), Part(number, 3))]
    assert sorted(found) == list(range(1, 101))


def test_rows_of_equal_keys_fall_to_the_same_part(database):
    sql = "SELECT (i % 20)::numeric(10, 2) * CASE WHEN i < 20 THEN 1 ELSE 1.000 END AS id FROM generate_series(0, 39) i"
    for part in parts_of(database, sql):
        assert set(Counter(row[0] for row in part).values()) <= {2}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT i AS id FROM generate_series(1, 30) i ORDER BY i DESC;",
        "WITH t AS (SELECT i AS id FROM generate_series(1, 99) i) SELECT id FROM t WHERE id <= 30 ;\n",
        "SELECT i AS id FROM generate_series(1, 99) i ORDER BY id LIMIT 30 -- the first",
        "SELECT i AS id FROM generate_series(1, 15) i UNION ALL SELECT i FROM generate_series(16, 30) i",
        "SELECT i AS id /* 100 % of them; all */ FROM generate_series(1, 30) i WHERE 'a;' LIKE 'a%'",
        "SELECT 30 - i AS id FROM generate_series(0, 29) i GROUP BY i HAVING count(*) > 0 FOR READ ONLY",
    ],
)
def test_a_query_stands_in_another_one_as_it_is(database, sql):
    parts = parts_of(database, sql, total=3)
    assert sorted(row[0] for part in parts for row in part) == list(range(1, 31))
    if "DESC" in sql:
        assert all(part == sorted(part, reverse=True) for part in parts)


def test_columns_keep_their_names_and_any_case(database):
    with psycopg.connect(database) as connection:
        sql = 'SELECT 1 AS "Id", \'a\' AS "select"'
        rows = [read_sql_part(connection, sql, ["Id"], Part(number, 2)) for number in range(2)]
        assert {one.columns for one in rows} == {("Id", "select")}


def test_the_older_driver_divides_alike(database):
    sql = "SELECT i AS id FROM generate_series(1, 60) i"
    connection = psycopg2.connect(database)
    try:
        parts = [rows_of(connection, sql, ["id"], Part(number, 4)) for number in range(4)]
    finally:
        connection.close()
    assert parts == parts_of(database, sql)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1 AS other", "column source.id does not exist"),
        ("SELECT 1 AS id; SELECT 2 AS id", "syntax error"),
        ("SELECT '1'::money AS id", "could not identify an extended hash function"),
    ],
)
def test_a_query_that_cannot_be_divided_is_refused_with_the_way_to_divide_it(database, sql, words):
    with psycopg.connect(database) as connection, pytest.raises(ConfigError) as caught:
        read_sql_part(connection, sql, ["id"], Part(0, 2))
    assert words in str(caught.value)
    assert "WHERE mod(id, {{ partitions }}) = {{ partition }}" in str(caught.value)


def test_another_database_is_told_how_to_write_the_condition():
    with pytest.raises(ConfigError, match=r"only a query on PostgreSQL .* WHERE mod\(id, \{\{ partitions \}\}\) = "):
        read_sql_part(sqlite3.connect(":memory:"), "SELECT 1 AS id", ["id"], Part(0, 2))


def test_a_query_in_parts_has_its_parameters(database):
    sql = "SELECT i AS id FROM generate_series(1, 100) i WHERE i <= %(last)s AND i::text NOT LIKE '%%7'"
    found = []
    for number in range(3):
        with psycopg.connect(database) as connection:
            rows = read_sql_part(connection, sql, ("id",), Part(number, 3), {"last": 40})
            found += [value for batch in rows.batches for value in batch.values("id")]
    assert sorted(found) == [i for i in range(1, 41) if i % 10 != 7]
