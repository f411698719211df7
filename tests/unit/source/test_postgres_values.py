"""Every type of PostgreSQL goes from a query into a prompt and a carried column, and back, without a silent change."""

import psycopg
import psycopg2
import pyarrow as pa
import pytest

from greennode_batch.request.prompt import Prompt
from greennode_batch.source.sql import read_sql

TYPES = """
    CREATE TYPE colour AS ENUM ('red', 'light green');
    CREATE DOMAIN grade AS integer CHECK (VALUE BETWEEN 1 AND 6);
    CREATE TYPE size AS (width numeric, unit text);
    CREATE TYPE names AS RANGE (subtype = text);
"""
# A value of each type that accepts one as text. An array of each is tried too.
SAMPLES = {
    "bool": "true", "int2": "-5", "int4": "7", "int8": "9223372036854775807", "oid": "42", "float4": "0.1",
    "float8": "0.30000000000000004", "numeric": "12345678901234567890.10", "money": "$1,234.50", "text": 'a, "b"',
    "varchar": "x ", "bpchar": "ab", "char": "c", "name": "n", "date": "2026-01-31", "time": "12:30:00.000001",
    "timetz": "12:30:00+07", "timestamp": "2026-01-31 12:30:00", "timestamptz": "2026-01-31 12:30:00+00",
    "interval": "1 day 02:00:00", "uuid": "0b8d5bb9-7c64-4ac0-a7ad-0d0e6f4e0d52",
    "json": '{"a": 0.1234567890123456789}',
    "jsonb": '{"a": [1, null, 12345678901234567890.5]}', "jsonpath": '$."a"', "inet": "10.0.0.1/8",
    "cidr": "10.0.0.0/8", "macaddr": "08:00:2b:01:02:03", "macaddr8": "08:00:2b:01:02:03:04:05", "bit": "1",
    "varbit": "101", "point": "(1,2)", "line": "{1,2,3}", "lseg": "[(1,2),(3,4)]", "box": "(3,4),(1,2)",
    "path": "((1,2),(3,4))", "polygon": "((1,2),(3,4),(5,6))", "circle": "<(1,2),3>", "tsvector": "'a':1 'b'",
    "tsquery": "'a' & 'b'", "int4range": "[1,5)", "int8range": "[1,)", "numrange": "(0.5,1.50]",
    "daterange": "[2026-01-01,2026-02-01)", "tsrange": '["2026-01-01 00:00:00","2026-02-01 00:00:00")',
    "tstzrange": '["2026-01-01 00:00:00+00",)', "int4multirange": "{[1,3),[5,7)}", "int8multirange": "{}",
    "nummultirange": "{[1,2)}", "datemultirange": "{[2026-01-01,2026-02-01)}", "tsmultirange": "{}",
    "tstzmultirange": "{}", "pg_lsn": "16/B374D848", "xid": "7", "xid8": "7", "cid": "7", "tid": "(0,1)",
    "pg_snapshot": "10:20:10,14", "txid_snapshot": "10:20:10,14", "int2vector": "1 2", "oidvector": "1 2",
    "regclass": "pg_class", "regtype": "integer", "regproc": "now", "regprocedure": "now()", "regoper": "||/",
    "regoperator": "+(integer,integer)", "regconfig": "simple", "regdictionary": "simple", "regcollation": '"C"',
    "regnamespace": "public", "regrole": "postgres", "refcursor": "c", "aclitem": "postgres=r/postgres",
    "colour": "light green", "grade": "3", "size": "(1.50,cm)", "names": "[a b,c)", "names_multirange": "{}",
}  # fmt: skip
# These are bytes, need a server with libxml, accept no value, or belong to the server's own tables.
NO_VALUES = {
    "bytea", "xml", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary", "gtsvector", "pg_ddl_command",
}  # fmt: skip
# Python and Arrow write these differently.
SHOWN_OTHERWISE = {"bool", "json", "jsonb", "timestamp", "timestamptz"}
LISTED = """
    SELECT typname FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
    WHERE typtype IN ('b', 'e', 'd', 'r', 'm', 'c') AND typelem = 0 AND typname NOT LIKE '\\_%'
        AND nspname IN ('pg_catalog', 'public') AND NOT (typtype = 'c' AND typname <> 'size')
"""


@pytest.fixture
def types(database):
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TYPES)
        yield connection
        connection.execute("DROP TYPE colour, size, names; DROP DOMAIN grade")


def test_there_is_a_sample_of_every_type(types):
    listed = {name for (name,) in types.execute(LISTED)}
    assert listed - NO_VALUES <= SAMPLES.keys()


@pytest.mark.parametrize("driver", [psycopg, psycopg2], ids=lambda driver: driver.__name__)
def test_a_value_of_every_type_is_shown_carried_and_taken_back_unchanged(types, database, driver):
    changed = {}
    connection = driver.connect(database)
    for name, text in SAMPLES.items():
        kind = f'pg_catalog."{name}"' if name == "char" else f'"{name}"'
        literal = f"'{text.replace(chr(39), chr(39) * 2)}'::{kind}"
        (batch,) = read_sql(connection, f"SELECT {literal} AS one, ARRAY[{literal}, NULL] AS many").batches
        (shown,) = Prompt("{{ one }}", ["one", "many"]).texts(batch)
        carried = batch.array("one").cast(pa.string()).to_pylist()[0]
        as_it_was = types.execute(f"SELECT %s::{kind}::text = {literal}::text", [carried]).fetchone()[0]
        many = batch.array("many").to_pylist()[0]
        # psycopg2 leaves arrays of types that it does not know as PostgreSQL writes them.
        first = "(%s::jsonb ->> 0)" if many.startswith("[") else f"(%s::{kind}[])[1]"
        element = types.execute(f"SELECT {first}::text::{kind}::text = {literal}::text", [many]).fetchone()[0]
        if not (as_it_was and element and (shown == carried or name in SHOWN_OTHERWISE)):
            changed[name] = (text, shown, carried, many)
    connection.close()
    assert changed == {}
