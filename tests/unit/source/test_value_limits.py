"""A value counts as one that a column does not hold exactly where PostgreSQL refuses it, or stores another."""

import datetime
import math

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.source.value_limits import beyond, can_exceed
from greennode_batch.tables.open_table import sql_table

TIME = datetime.datetime(2026, 1, 31, 12, 30, 15, 123456)  # noqa: DTZ001
# By the column's type: values that it holds, and values that it does not.
CASES = [
    ("smallint", pa.int64(), [-32768, 32767, None], [32768, -32769, 1 << 62]),
    ("integer", pa.int64(), [2_147_483_647, -2_147_483_648], [3_000_000_000, -2_147_483_649]),
    ("integer", pa.float64(), [3.0, -2_147_483_648.0], [1.5, 2_147_483_648.0]),
    ("integer", pa.string(), ["7", " -7 ", "007"], ["7.0", "seven", "3000000000", "", "1_000"]),
    ("bigint", pa.string(), ["9223372036854775807"], ["9223372036854775808"]),
    ("numeric(5,2)", pa.int64(), [999, -999, 0], [1000, -1000]),
    ("numeric(5,2)", pa.float64(), [123.45, -0.01, 999.99, 0.0], [12345.678, 1.005, 999.995, 1e300, 1e-9]),
    ("numeric(5,2)", pa.string(), ["123.45", "1.500", "1e2", "-.5"], ["12345.678", "1.005", "x", "NaN", ""]),
    ("numeric", pa.string(), ["1e100", "0.123456789"], ["ten", "1,5"]),
    ("real", pa.float64(), [0.1, 0.92, 3.25e38, -1e-30, 0.0], [1e300, 1e-60, 0.123456789012]),
    ("real", pa.int64(), [16_777_216, -5], [16_777_217]),
    ("double precision", pa.int64(), [1 << 53], [(1 << 53) + 1]),
    ("double precision", pa.string(), ["0.1", "1e3"], ["1e400", "x", "0.1234567890123456789"]),
    ("varchar(3)", pa.string(), ["abc", "ế  "[:3], ""], ["abcd", "ab  "]),
    ("varchar(3)", pa.int64(), [123, -12], [1234]),
    ("char(3)", pa.string(), ["abc", "a"], ["abcd"]),
    ("mood", pa.string(), ["happy", "it's"], ["sad", "Happy", ""]),
    ("mood_domain", pa.string(), ["happy"], ["sad"]),
    ("short_domain", pa.string(), ["abc"], ["abcd"]),
    ("boolean", pa.string(), ["true", "No", "1"], ["maybe", "2"]),
    ("uuid", pa.string(), ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"], ["x", "a0eebc99-9c0b"]),
    ("inet", pa.string(), ["10.0.0.1", "10.0.0.0/8", "::1"], ["10.0.0", "10.0.0.256", "host"]),
    ("cidr", pa.string(), ["10.0.0.0/8"], ["10.0.0.1/8"]),
    ("json", pa.string(), ['{"a": [1, "b"]}', "null", "1e400"], ["{", "", "NaN", "{'a': 1}"]),
    ("jsonb", pa.string(), ['{"a": 1.50}'], ['"\\u0000"', '"\\ud800"', "{", "1e200000"]),
    ("date", pa.string(), ["2026-01-31", "0001-01-01"], ["2026-02-30", "soon", "", "2026-01-31 12:00:00"]),
    ("date", pa.timestamp("us"), [TIME.replace(hour=0, minute=0, second=0, microsecond=0)], [TIME]),
    ("timestamp(0)", pa.timestamp("us"), [TIME.replace(microsecond=0)], [TIME]),
    ("timestamp(3)", pa.timestamp("us"), [TIME.replace(microsecond=123000)], [TIME]),
    ("timestamp", pa.string(), ["2026-01-31 12:00:00.5", "2026-01-31"], ["noon", "2026-01-31T12:00:00+07:00"]),
    ("timestamptz", pa.string(), ["2026-01-31T12:00:00+07:00", "2026-01-31"], ["noon", "2026-13-01"]),
    ("time", pa.string(), ["12:30:00", "12:30"], ["25:00", "noon"]),
    (
        "text[]",
        pa.string(),
        ['["a", null]', "{a,b}", "[]", '[["a"],["b"]]'],
        ["a", "{a,,b}", "[[]]", '[["a"],[]]', "[NaN]"],
    ),
    ("integer[]", pa.string(), ["[1, null]", "{7}"], ["[1.5]", "[3000000000]", '["x"]', '[{"a": 1}]']),
    ("short_domain[]", pa.string(), ['["any"]'], ["any"]),
    ("varchar(3)[]", pa.string(), ['["abc"]'], ['["abcd"]']),
    ("mood[]", pa.string(), ['["happy", "it\'s"]'], ['["sad"]']),
    (
        "int4range",
        pa.string(),
        ["[1,5)", "(,2147483647)", "empty", "[1, 10]"],
        ["[5,1]", "[1,2147483647]", "[1.5,2]", "1"],
    ),
    ("numrange", pa.string(), ["[0.1,)"], ["[a,b]", "[2,1]"]),
    ("tstzrange", pa.string(), ['["2026-01-31 12:00+07",2026-02-01)'], ["[2026-02-01,2026-01-31]", "[noon,)"]),
    ("int4multirange", pa.string(), ["{}", "{[1,5), [7,9)}"], ["{[1,5),}", "[1,5)", "{[5,1)}"]),
    (
        "interval",
        pa.string(),
        ["3 days 02:00:00", "P3DT2H", "-P1DT2H", "1 day, 2:00:00"],
        ["3", "soon", "1 day 2 days", "P"],
    ),
    ("interval", pa.int64(), [90], [1 << 40]),
    ("money", pa.string(), ["$1,234.50", "-7"], ["1,5", "1e5", "1.005", "99999999999999999"]),
    ("money", pa.float64(), [1.5, 123456.25], [1.005, 1e-7, 1e300]),
    ("bytea", pa.string(), ["word", "\\xDEAD"], ["\\xDEA", "C:\\new", "\\101"]),
]
UNLIMITED = [
    ("bigint", pa.int64()), ("numeric", pa.int64()), ("numeric", pa.float64()), ("double precision", pa.float64()),
    ("text", pa.string()), ("varchar", pa.string()), ("timestamp", pa.timestamp("us")), ("date", pa.date32()),
    ("timestamptz", pa.timestamp("us", tz="UTC")), ("boolean", pa.bool_()), ("point", pa.string()),
]  # fmt: skip


@pytest.fixture
def column_of(database):
    """(type) -> the limit of a column of this type, and what the column stores of a value, as text; None if nothing."""
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('happy', 'it''s'); CREATE DOMAIN mood_domain AS mood")
        connection.execute("CREATE DOMAIN inner_short AS varchar(3); CREATE DOMAIN short_domain AS inner_short")
        connection.commit()

        def made(kind):
            connection.execute(f"DROP TABLE IF EXISTS answers; CREATE TABLE answers (id bigint, value {kind})")
            connection.commit()
            dialect = sql_table(connection, "answers", ("id",)).dialect

            def stored(value, arrow):
                with connection.transaction(force_rollback=True):
                    connection.execute("SET LOCAL TimeZone = 'UTC'")
                    try:
                        with connection.transaction():
                            dialect.insert(connection, "answers", pa.table({"value": pa.array([value], arrow)}))
                    except psycopg.DataError:
                        return None
                    ((text,),) = connection.execute("SELECT value::text FROM answers").fetchall()
                    return text

            with dialect.transaction() as tx:
                return dialect.columns(tx)[1].limit, stored

        yield made


@pytest.mark.parametrize(("kind", "arrow", "held", "not_held"), CASES, ids=[f"{one[0]}-{one[1]}" for one in CASES])
def test_what_a_column_holds_is_known_before_it_is_written(column_of, kind, arrow, held, not_held):
    limit, stored = column_of(kind)
    assert can_exceed(pa.field("value", arrow), limit)
    assert beyond(pa.array([*held, *not_held], arrow), limit).to_pylist() == [False] * len(held) + [True] * len(
        not_held
    )
    assert all(stored(value, arrow) is not None for value in held if value is not None)


@pytest.mark.parametrize(("kind", "arrow"), UNLIMITED, ids=str)
def test_a_column_that_holds_all_values_of_a_field_costs_nothing(column_of, kind, arrow):
    limit, _ = column_of(kind)
    assert limit is None or not can_exceed(pa.field("value", arrow), limit)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_numbers_are_held_where_postgresql_stores_them_unchanged(column_of, data):
    kind = data.draw(st.sampled_from(["smallint", "integer", "numeric(6,2)", "numeric(3,3)", "numeric(4,0)", "real"]))
    near = st.sampled_from([0.005, 999.9995, 9999.99, 10000.0, 32767.0, 2147483647.0, 3.4028235e38, 1e-45, 16777217.0])
    value = data.draw(near | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-40_000, 40_000).map(float))
    limit, stored = column_of(kind)
    text = stored(value, pa.float64())
    is_kept = text is not None and math.isclose(float(text), value, rel_tol=0, abs_tol=0)
    assert beyond(pa.array([value]), limit).to_pylist() == [not is_kept]
    if kind not in {"smallint", "integer"}:
        is_taken = text is not None and math.isfinite(float(text))
        assert beyond(pa.array([value]), limit, may_round=True).to_pylist() == [not is_taken]


@pytest.mark.parametrize(
    ("kind", "value", "arrow"),
    [
        ("numeric(3,2)", 0.956, pa.float64()),
        ("numeric(3,2)", "0.956", pa.string()),
        ("real", 0.123456789012, pa.float64()),
        ("timestamp(0)", TIME.replace(microsecond=500_000), pa.timestamp("us")),
        ("timestamp(0)", "2026-01-31 12:00:00.5", pa.string()),
        ("time(0)", "12:00:00.5", pa.string()),
    ],
    ids=str,
)
def test_digits_that_a_column_rounds_count_only_where_rounding_is_a_change(column_of, kind, value, arrow):
    limit, stored = column_of(kind)
    assert stored(value, arrow) is not None
    assert beyond(pa.array([value], arrow), limit).to_pylist() == [True]
    assert beyond(pa.array([value], arrow), limit, may_round=True).to_pylist() == [False]
