"""Incremental runs: what a real table says of the rows that it has."""

import datetime
import sqlite3
from contextlib import closing
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.api.profile import ApiProfile
from greennode_batch.incremental.answered import ANSWERED
from greennode_batch.incremental.target_lookup import LookupRows, TableLookup
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.tables.open_table import sql_table

SCHEMA = pa.schema(
    [("id", pa.int64()), ("part", pa.string()), *((name, pa.string()) for name in ("custom_id", "status", "run_id"))]
)
KEY = ("id", "part")


@pytest.fixture(params=["postgres", "sqlite"])
def table(request, tmp_path):
    """An empty table of our columns."""
    if request.param == "sqlite":
        made = sqlite3.connect(tmp_path / "target.db")
    else:
        made = psycopg.connect(request.getfixturevalue("database"))
    with closing(made):
        table = sql_table(made, "answers", KEY)
        table.prepare(SCHEMA)
        yield table


def written(table, *rows):
    table.write([pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)])


def settled_in(table, keys, custom_ids, unsent=None, final_for="model", owner=None):
    owner = owner or RowOwner("now", "job")
    return TableLookup(table).look_up(LookupRows(keys, custom_ids, unsent or {}, final_for, owner)).codes.tolist()


def keys_of(*keys):
    return pa.Table.from_pylist(
        [dict(zip(KEY, key, strict=True)) for key in keys], schema=pa.schema([SCHEMA.field(name) for name in KEY])
    )


def test_a_row_is_answered_where_the_table_has_a_good_answer_to_the_same_request(table):
    written(
        table,
        (1, "a", "same", "succeeded", "r1"),
        (1, "b", "other", "succeeded", "r1"),
        (2, "a", "same", "failed", "r1"),
        (3, "a", None, "unsent", "r2"),
    )
    keys = keys_of((3, "a"), (1, "b"), (9, "a"), (1, "a"), (2, "a"))
    assert settled_in(table, keys, ["same"] * 5) == [0, 0, 0, ANSWERED, 0]


def test_a_table_that_is_not_there_or_is_another_s_has_no_answers(table):
    missing = sql_table(table.dialect._connection, "nowhere", KEY)
    assert settled_in(missing, keys_of((1, "a")), ["x"]) == [0]
    assert TableLookup(missing).orphaned([keys_of((1, "a"))], remove=True).count == 0
    table.dialect._connection.execute("CREATE TABLE another (id bigint, part text)")
    table.dialect._connection.commit()
    another = sql_table(table.dialect._connection, "another", KEY)
    assert settled_in(another, keys_of((1, "a")), ["x"]) == [0]
    # Without an index each look would be through the whole table; such a one is refused when it is prepared.
    table.dialect._connection.execute(
        "CREATE TABLE bare AS SELECT 1 AS id, 'a' AS part, 'x' AS custom_id, 'r' AS run_id, 'succeeded' AS status"
    )
    table.dialect._connection.commit()
    bare = sql_table(table.dialect._connection, "bare", KEY)
    assert settled_in(bare, keys_of((1, "a")), ["x"]) == [0]


@pytest.mark.parametrize("remove", [False, True])
def test_rows_that_left_the_source_are_counted_named_and_removed_only_if_wanted(table, remove):
    written(table, *((number, "a", "x", "succeeded", "r") for number in range(30)))
    known = TableLookup(table)
    source = [keys_of(*((number, "a") for number in range(25))), keys_of((25, "a"), (99, "a"), (26, "b"))]
    orphaned = known.orphaned(source, remove=remove)
    assert (orphaned.count, orphaned.removed) == (4, remove)
    assert orphaned.shown == "(26, a), (27, a), (28, a), (29, a)"
    again = known.orphaned(source, remove=False)
    assert (again.count, again.removed) == (0 if remove else 4, False)


@pytest.mark.parametrize("remove", [False, True])
def test_rows_that_are_not_asked_have_not_left_and_are_not_removed(table, remove):
    written(table, *((number, part, "x", "succeeded", "r") for number in range(3) for part in ("a", "b'%", "c")))
    requested = pa.table({"part": ["a", "c"]})
    known = TableLookup(table)
    source = [keys_of((0, "")).select(["id"]), keys_of((1, "")).select(["id"])]
    orphaned = known.orphaned(source, requested=requested, remove=remove)
    assert (orphaned.count, orphaned.not_requested, orphaned.removed) == (2, 3, remove)
    assert orphaned.shown == "(2, a), (2, c)"
    again = known.orphaned(source, requested=requested, remove=False)
    assert (again.count, again.not_requested) == (0 if remove else 2, 3)


@settings(max_examples=settings.default.max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.integers(0, 12), st.sampled_from("abc"), max_size=10),
    st.dictionaries(st.integers(0, 12), st.sampled_from(["a", "b", "c", ""]), max_size=10),
    st.sets(st.integers(0, 12)),
)
def test_of_a_table_that_was_asked_before_only_what_is_new_changed_or_failed_is_asked(
    table, make_job, tmp_path_factory, before, after, failed
):
    """Whatever was answered, and whatever became of the source since."""
    job = make_job(key="id", target=SqlTarget(conn_id="db", table="labels"), orphaned_rows="report")

    def plan(rows, known):
        run = run_folder(tmp_path_factory.mktemp("staging"), "job", "run")
        source = Rows.from_tuples(("id", "text"), [list(rows.items())])
        made = build(job, lambda: source, run, run_id="r", profile=ApiProfile(), target_lookups=[known])
        return made, [(run.shard(shard.shard_id), shard) for shard in made.shards]

    labels = sql_table(table.dialect._connection, "labels", ("id",))
    schema = pa.schema([SCHEMA.field(name) for name in SCHEMA.names if name != "part"])
    table.dialect._connection.execute("DROP TABLE IF EXISTS labels")
    table.dialect._connection.commit()
    labels.prepare(schema)
    known = TableLookup(labels)
    _, shards = plan(before, known)
    for shard, _ in shards:
        rows = pa.parquet.read_table(str(shard.source)).select(["id", "custom_id"])
        status = ["failed" if number in failed else "succeeded" for number in rows["id"].to_pylist()]
        labels.write([pa.table([*rows.columns, status, ["r1"] * rows.num_rows], schema=schema)])
    made, shards = plan(after, known)
    requested = {row for shard, _ in shards for row in pa.parquet.read_table(str(shard.source))["id"].to_pylist()}
    unchanged = {number for number, text in after.items() if before.get(number) == text} - failed
    assert requested == after.keys() - unchanged
    assert made.unchanged == len(unchanged)
    assert made.orphaned is None if not after else made.orphaned.count == len(before.keys() - after.keys())


@pytest.mark.parametrize(
    "value",
    [Decimal("12.50"), datetime.date(2024, 2, 29), datetime.datetime(2024, 1, 2, 3, 4, 5, 6, datetime.UTC), "é"],
)
def test_keys_of_any_type_are_found_again(database, value):
    with psycopg.connect(database) as connection:
        schema = pa.schema([pa.field("k", pa.array([value]).type), *list(SCHEMA)[2:]])
        table = sql_table(connection, "typed", ("k",))
        table.prepare(schema)
        table.write([pa.table([[value], ["same"], ["succeeded"], ["r"]], schema=schema)])
        keys = pa.table([[value]], schema=pa.schema([schema.field("k")]))
        assert settled_in(table, keys, ["same"]) == [ANSWERED]
        assert TableLookup(table).orphaned([keys], remove=True).count == 0
