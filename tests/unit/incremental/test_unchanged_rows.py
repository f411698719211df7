"""Runs one after the other on a table of PostgreSQL: what the note of the one before spares, and what it must not."""

import dataclasses
import datetime
import logging
import sqlite3
from contextlib import closing
from decimal import Decimal

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.errors import BudgetError, ConfigError, RowError
from greennode_batch.incremental.answer_cache import answer_cache_path
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.job.budget import Budget
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.receipts import Receipt, write_receipt
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.join import join_shard, joined_schema
from greennode_batch.write.target_writer import write_shard

FIELDS = AnswerReader(None).fields
MODELS = ("google/gemma-4-31b-it", "openai/gpt-oss-120b")
TEXTS = {1: "a", 2: "b", 3: "c", 4: None, 5: ""}
NOTED = "Wrote the answer cache of table"
IN_TABLE = {"key": "id", "target": SqlTarget(conn_id="db", table="answers"), "prompt": "Say {{ text }}"}


class Watched(TableLookup):
    """Keeps how many keys were looked up in the table: only what was rendered is."""

    looked_up = 0

    def look_up(self, requested):
        self.looked_up += requested.keys.num_rows
        return super().look_up(requested)


class Runs:
    """Runs of one job over rows, answered at once."""

    def __init__(self, connection, root, job, columns):
        self.connection = connection
        self.root = root
        self.job = job
        self.columns = columns
        self.table = sql_table(connection, job.cached_table.table, job.target_key)
        self.count = 0

    def build(self, rows, run_id="", root=None, **options):
        """What a run over rows asks: (run, plan, how many rows were looked up)."""
        self.count += 1
        run = run_folder(root or self.root, "dag", run_id or f"run {self.count}")
        known = Watched(self.table, job_id=self.job.own_id)
        pieces = [rows[start : start + 3] for start in range(0, len(rows), 3)]
        plan = build(
            self.job,
            lambda: Rows.from_tuples(self.columns, pieces),
            run,
            run_id=run.path.name,
            profile=ApiProfile(),
            target_lookups=[known],
            **options,
        )
        return run, plan, known.looked_up

    def finish(self, run, plan, failed=()):
        """Answer and write the rows of a run, and note what is answered."""
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            source = pq.read_table(str(shard.source))
            requested = source.filter(source["custom_id"].is_valid()).group_by("custom_id").aggregate([])
            status = ["failed" if one in failed else "succeeded" for one in requested["custom_id"].to_pylist()]
            given = {"custom_id": requested["custom_id"], "status": status}
            schema = pa.schema([*RESULT_FIELDS, *FIELDS])
            columns = [given.get(field.name, pa.nulls(requested.num_rows, field.type)) for field in schema]
            pq.write_table(pa.table(columns, schema=schema), str(shard.results))
            with join_shard(shard, owner=plan.owner, answer_fields=FIELDS) as joined:
                write_shard(shard, joined, [self.table], key=self.job.target_key)
        AnsweredTable(self.table, run, run_id=plan.run_id).record(plan)

    def run(self, rows, failed=()):
        """Build, answer, write, note: (plan, how many rows were looked up, which were asked)."""
        run, plan, looked_up = self.build(rows)
        requested = keys_in(run, plan)
        self.finish(run, plan, failed)
        return plan, looked_up, requested

    def execute(self, statement):
        done = self.connection.execute(statement)
        found = done.fetchall() if done.description else []
        self.connection.commit()
        return found

    @property
    def cache(self):
        return answer_cache_path(run_folder(self.root, "dag", "any"), self.table.name)


def keys_in(run, plan):
    sources = [pq.read_table(str(run.shard(shard.shard_id).source)) for shard in plan.shards]
    return sorted(number for source in sources for number in source["id"].to_pylist())


@pytest.fixture
def make_runs(database, make_job, tmp_path):
    with psycopg.connect(database) as connection:

        def make(columns=("id", "text"), **job):
            declared = make_job(**{**IN_TABLE, **job})
            return Runs(connection, tmp_path / "staging" / declared.name, declared, columns)

        yield make


@pytest.fixture(params=["postgres", "sqlite"])
def make_any_runs(request, make_job, tmp_path):
    """The same on a database that makes digests, and on one that makes none."""
    if request.param == "postgres":
        yield request.getfixturevalue("make_runs")
        return
    with closing(sqlite3.connect(tmp_path / "target.db")) as connection:

        def make(columns=("id", "text"), **job):
            return Runs(connection, tmp_path / "staging", make_job(**{**IN_TABLE, **job}), columns)

        yield make


@pytest.fixture
def runs(make_runs):
    """Runs on a table that has answered TEXTS, and a note of it."""
    made = make_runs()
    plan, _, requested = made.run(list(TEXTS.items()))
    assert (requested, plan.orphaned.count) == (list(TEXTS), 0)
    assert made.cache.exists()
    return made


def test_a_row_that_is_unchanged_is_not_rendered_nor_looked_up(runs):
    plan, looked_up, requested = runs.run([*TEXTS.items(), (6, "new")])
    assert (requested, looked_up, plan.unchanged, plan.orphaned.count) == ([6], 1, 5, 0)
    plan, looked_up, requested = runs.run([*(TEXTS | {2: "other"}).items(), (6, "new")])
    assert (requested, looked_up, plan.unchanged, plan.orphaned.count) == ([2], 1, 5, 0)
    # And so it goes on where nothing is asked.
    for _ in range(2):
        plan, looked_up, requested = runs.run([*(TEXTS | {2: "other"}).items(), (6, "new")])
        assert (requested, looked_up, plan.unchanged) == ([], 0, 6)


def test_a_text_that_came_back_is_looked_up_and_asked(runs):
    """The table has the answer to what was asked in between."""
    assert runs.run(list((TEXTS | {2: "other"}).items()))[2] == [2]
    assert runs.run(list(TEXTS.items()))[1:] == (1, [2])


def test_a_row_without_a_good_answer_is_asked_again(make_runs):
    runs = make_runs(prompt="{{ text }}")
    run, plan, _ = runs.build(list(TEXTS.items()))
    (shard,) = plan.shards
    source = pq.read_table(str(run.shard(shard.shard_id).source))
    runs.finish(run, plan, failed=[source["custom_id"][source["id"].index(3).as_py()].as_py()])
    # NULL and an empty text make an empty prompt, which is not sent, today as yesterday.
    plan, looked_up, requested = runs.run(list(TEXTS.items()))
    assert (requested, looked_up, plan.unchanged, plan.unsent, plan.remembered) == ([3], 1, 2, 0, {"unsent": 2})


def test_what_another_job_writes_does_not_void_the_note(runs, make_runs):
    other = make_runs(name="other")
    assert other.run([(11, "k"), (12, "l")])[1:] == (2, [11, 12])
    for job, rows in ((runs, TEXTS), (other, {11: "k", 12: "l"})):
        plan, looked_up, requested = job.run(list(rows.items()))
        assert (requested, looked_up, plan.unchanged, plan.orphaned.count) == ([], 0, len(rows), 0)
    # Unless it is written over one of the job's own.
    assert other.run([(1, "another"), (11, "k"), (12, "l")])[1:] == (1, [1])
    assert runs.run(list(TEXTS.items()))[1:] == (5, [1])


def test_of_another_job_s_answers_no_note_is_made_for_it_may_remove_them(runs, make_runs):
    other = make_runs(name="other")
    rows = [(1, "a"), (2, "b"), (6, "own")]
    assert other.run(rows)[2] == [6]
    for _ in range(2):
        plan, looked_up, requested = other.run(rows)
        assert (requested, looked_up, plan.unchanged, plan.orphaned.count) == ([], 2, 3, 0)
    runs.execute("DELETE FROM answers WHERE id = 2")
    assert other.run(rows)[1:] == (2, [2])
    # It is the job's own from then on.
    assert other.run(rows)[1:] == (1, [])


def test_rows_that_are_nobody_s_are_noted_once_the_job_has_found_them(runs):
    runs.execute("UPDATE answers SET greennode_job = NULL")
    rows = [(1, "a"), (2, "other"), (6, "new")]
    plan, looked_up, requested = runs.run(rows)
    assert (requested, looked_up, plan.unchanged) == ([2, 6], 3, 1)
    # What has left the source meanwhile stays nobody's.
    assert plan.orphaned.count == 0
    owners = {1: "job", 2: "job", 3: None, 4: None, 5: None, 6: "job"}
    assert dict(runs.execute("SELECT id, greennode_job FROM answers")) == owners
    assert runs.run(rows)[1:] == (0, [])


EDITS = {
    "DELETE FROM answers WHERE id = 2": [2],
    "UPDATE answers SET status = 'failed' WHERE id = 2": [2],
    "UPDATE answers SET custom_id = 'another' WHERE id = 2": [2],
    "UPDATE answers SET custom_id = NULL WHERE id = 2": [2],
    "UPDATE answers SET id = 7 WHERE id = 2": [2],
    "INSERT INTO answers (id, status, run_id, greennode_job) VALUES (8, 'succeeded', 'by hand', 'job')": [],
    "UPDATE answers a SET custom_id = b.custom_id FROM answers b WHERE a.id + b.id = 3": [1, 2],
}


@pytest.mark.parametrize(("edit", "wanted"), EDITS.items(), ids=range(len(EDITS)))
def test_of_a_table_that_somebody_else_has_written_each_row_is_looked_up(runs, edit, wanted):
    runs.execute(edit)
    plan, looked_up, requested = runs.run(list(TEXTS.items()))
    assert (looked_up, requested) == (5, wanted)
    assert plan.orphaned.count == runs.execute("SELECT count(*) FROM answers WHERE id > 5")[0][0]
    # From then on it is known again, and what left is told as before.
    again, looked_up, requested = runs.run(list(TEXTS.items()))
    assert (looked_up, requested, again.orphaned) == (0, [], plan.orphaned)


@pytest.mark.parametrize("edit", ["UPDATE answers SET answer = 'x' WHERE id = 2", "VACUUM FULL answers"])
def test_what_does_not_matter_does_not_void_the_note(runs, edit, database):
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(edit)
    assert runs.run(list(TEXTS.items()))[1:] == (0, [])


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE answers SET status = 'failed' WHERE id = 2",
        "UPDATE answers SET custom_id = 'another' WHERE id = 6",
        "DELETE FROM answers WHERE id = 2",
        "INSERT INTO answers (id, status, run_id, greennode_job) VALUES (8, 'succeeded', 'by hand', 'job')",
    ],
)
def test_what_somebody_writes_between_build_and_report_is_never_noted_as_answered(runs, edit, monkeypatch):
    rows = [*TEXTS.items(), (6, "new")]
    before = runs.cache.read_bytes()
    record = AnsweredTable.record
    run, plan, _ = runs.build(rows)

    def edited(self, *args, **options):
        runs.execute(edit)
        record(self, *args, **options)

    # After the rows of the run were written and compared; also of that the note must not speak.
    monkeypatch.setattr(AnsweredTable, "record", edited)
    runs.finish(run, plan)
    monkeypatch.undo()
    assert runs.cache.read_bytes() == before
    exact = runs.build(rows, root=runs.root.parent / "exact")
    cached = runs.build(rows)
    assert keys_in(*cached[:2]) == keys_in(*exact[:2])
    assert cached[2] == len(rows)


@pytest.mark.parametrize("end", [-8, 0])
def test_a_note_that_is_spoilt_is_made_anew(runs, end, caplog):
    runs.cache.write_bytes(runs.cache.read_bytes()[:end])
    assert runs.run(list(TEXTS.items()))[1:] == (5, [])
    assert "not a readable answer cache" in caplog.text
    assert runs.run(list(TEXTS.items()))[1:] == (0, [])


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Tell {{ text }}"},
        {"params": {"temperature": 0}},
        {"model": "openai/gpt-oss-120b"},
        {"system": "You are {{ id }}"},
    ],
)
def test_other_requests_are_rendered_looked_up_and_asked(runs, make_runs, change):
    others = make_runs(**change)
    others.count = runs.count
    assert others.run(list(TEXTS.items()))[1:] == (5, list(TEXTS))
    assert others.run(list(TEXTS.items()))[1:] == (0, [])


def test_a_field_from_a_column_is_part_of_the_request(make_runs):
    runs = make_runs(("id", "text", "words"), row_params={"max_tokens": "words"})
    runs.run([(1, "a", 10), (2, "b", None)])
    assert runs.run([(1, "a", 10), (2, "b", None)])[1:] == (0, [])
    assert runs.run([(1, "a", 10), (2, "b", 20)])[1:] == (1, [2])


def test_a_macro_that_was_edited_asks_each_row_again(make_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("greennode_batch.job.texts.find_job_text.__kwdefaults__", {"folder": tmp_path})
    (tmp_path / "prompt.md").write_text("{% from 'macros.j2' import say %}{{ say(text) }}")
    macros = tmp_path / "macros.j2"
    macros.write_text("{% macro say(it) %}Say {{ it }}{% endmacro %}")
    runs = make_runs(prompt="prompt.md")
    first, _, _ = runs.run([(1, "a"), (2, "b")])
    same, looked_up, requested = runs.run([(1, "a"), (2, "b")])
    assert (looked_up, requested, same.prompt_hash) == (0, [], first.prompt_hash)
    macros.write_text("{% macro say(it) %}Shout {{ it }}{% endmacro %}")
    edited, looked_up, requested = runs.run([(1, "a"), (2, "b")])
    assert (looked_up, requested) == (2, [1, 2])
    assert edited.prompt_hash != first.prompt_hash


def test_a_carried_column_is_no_part_of_the_request(make_runs):
    runs = make_runs(("id", "text", "day"), carry=("day",))
    runs.run([(1, "a", "Monday"), (2, "b", "Monday")])
    assert runs.run([(1, "a", "Tuesday"), (2, "b", "Tuesday")])[1:] == (0, [])


def test_rows_that_left_are_told_again_in_each_run(runs):
    rows = [(1, "a"), (2, "b"), (4, None)]
    plan, looked_up, _ = runs.run(rows)
    assert (looked_up, plan.orphaned.count, plan.orphaned.shown, plan.orphaned.removed) == (0, 2, "3, 5", False)
    again, looked_up, _ = runs.run(rows)
    assert (looked_up, again.orphaned) == (0, plan.orphaned)
    # One that comes back is found in the table, and asked only if it is another.
    plan, looked_up, requested = runs.run([*rows, (3, "c")])
    assert (looked_up, requested, plan.unchanged, plan.orphaned.shown) == (1, [], 4, "5")
    plan, looked_up, requested = runs.run([*rows, (3, "c"), (5, "other")])
    assert (looked_up, requested, plan.orphaned.count) == (1, [5], 0)


def test_rows_that_left_are_removed_and_the_note_lives_on(runs, make_runs):
    removing = make_runs(orphaned_rows="remove")
    removing.count = runs.count
    rows = [(1, "a"), (2, "b"), (4, "other")]
    plan, looked_up, requested = removing.run(rows)
    assert (looked_up, requested, plan.orphaned.count, plan.orphaned.removed) == (1, [4], 2, True)
    assert runs.execute("SELECT id FROM answers ORDER BY id") == [(1,), (2,), (4,)]
    plan, looked_up, requested = removing.run(rows)
    assert (looked_up, requested, plan.orphaned.count, plan.orphaned.removed) == (0, [], 0, False)


def test_where_nobody_asks_what_left_the_table_is_not_looked_through(runs, make_runs, monkeypatch):
    ignoring = make_runs(orphaned_rows="ignore")
    ignoring.count = runs.count
    monkeypatch.setattr(type(runs.table), "digests", None)
    for requested in ([9], []):
        plan, looked_up, found = ignoring.run([(1, "a"), (9, "new")])
        assert (looked_up, found, plan.orphaned) == (2, requested, None)
    monkeypatch.undo()
    # Those who ask are told.
    runs.count = ignoring.count
    assert runs.run([(1, "a"), (9, "new")])[0].orphaned.shown == "2, 3, 4, 5"


def test_a_source_without_rows_removes_nothing(runs, make_runs):
    removing = make_runs(orphaned_rows="remove")
    removing.count = runs.count
    assert removing.run([])[0].orphaned is None
    assert runs.execute("SELECT count(*) FROM answers") == [(5,)]


@pytest.mark.parametrize("rows", [[*TEXTS.items(), (2, "b")], [*TEXTS.items(), (2, "other")], [(6, "x"), (6, "y")]])
def test_a_key_that_comes_twice_is_an_error_also_of_unchanged_rows(runs, rows):
    with pytest.raises(RowError, match=r"row id = [26]: this key comes twice"):
        runs.build(rows)


def test_a_null_key_is_an_error_also_among_unchanged_rows(runs):
    with pytest.raises(RowError, match="may not be NULL"):
        runs.build([*TEXTS.items(), (None, "b")])


def test_each_model_has_its_own_answers(make_runs):
    runs = make_runs(model=("a/x", "b/y"))
    assert runs.run([(1, "a"), (2, "b")])[2] == [1, 1, 2, 2]
    plan, looked_up, requested = runs.run([(1, "a"), (2, "b"), (3, "c")])
    assert (looked_up, requested, plan.unchanged, plan.orphaned.count) == (2, [3, 3], 4, 0)
    runs.execute("UPDATE answers SET status = 'failed' WHERE id = 2 AND model = 'b/y'")
    plan, _, requested = runs.run([(1, "a"), (2, "b"), (3, "c")])
    assert (requested, plan.unchanged) == ([2], 5)
    plan, looked_up, requested = runs.run([(1, "a"), (2, "changed"), (3, "c")])
    assert (looked_up, requested, plan.unchanged, plan.orphaned.count) == (2, [2, 2], 4, 0)


@pytest.mark.parametrize("orphaned_rows", ["report", "remove"])
def test_a_run_of_some_models_leaves_the_rows_of_the_others_as_they_are(make_any_runs, orphaned_rows):
    runs = make_any_runs(model=["a/x", "b/y"], orphaned_rows=orphaned_rows)
    runs.run([(1, "a"), (2, "b"), (3, "c")])
    of_other = runs.execute("SELECT * FROM answers WHERE model = 'b/y' ORDER BY id")
    both, runs.job = runs.job, dataclasses.replace(runs.job, model=["a/x"])
    # One has changed, one is new, and one has left.
    rows = [(1, "a"), (2, "changed"), (4, "new")]
    plan, _, requested = runs.run(rows)
    assert (requested, plan.rows, plan.unchanged, plan.models, plan.target_key) == (
        [2, 4],
        2,
        1,
        ("a/x",),
        ("id", "model"),
    )
    assert (plan.orphaned.count, plan.orphaned.shown, plan.orphaned.removed) == (
        1,
        "(3, a/x)",
        orphaned_rows == "remove",
    )
    assert runs.execute("SELECT * FROM answers WHERE model = 'b/y' ORDER BY id") == of_other
    kept = [] if orphaned_rows == "remove" else [(3,)]
    assert runs.execute("SELECT id FROM answers WHERE model = 'a/x' ORDER BY id") == [(1,), (2,), *kept, (4,)]
    # All of them again: the other model's rows are looked for, too.
    runs.job = both
    plan, _, requested = runs.run(rows)
    assert (requested, plan.unchanged) == ([2, 4], 4)
    assert (plan.orphaned.count, plan.orphaned.removed) == (
        1 if orphaned_rows == "remove" else 2,
        orphaned_rows == "remove",
    )


def test_the_rows_of_a_model_that_is_asked_no_more_stay_and_the_note_lives_on(make_runs):
    runs = make_runs(model=["a/x", "b/y"])
    runs.run([(1, "a"), (2, "b")])
    runs.job = dataclasses.replace(runs.job, model=["a/x"], orphaned_rows="remove")
    plan, looked_up, requested = runs.run([(1, "a")])
    assert (looked_up, requested, plan.orphaned.count, plan.orphaned.not_requested) == (1, [], 1, 2)
    assert runs.execute("SELECT id, model FROM answers ORDER BY id, model") == [(1, "a/x"), (1, "b/y"), (2, "b/y")]
    for _ in range(2):
        plan, looked_up, requested = runs.run([(1, "a")])
        assert (looked_up, requested, plan.unchanged, plan.orphaned.count, plan.orphaned.removed) == (
            0,
            [],
            1,
            0,
            False,
        )
    # Somebody else's row of that model voids the note, as any other does.
    runs.execute("UPDATE answers SET status = 'failed' WHERE model = 'b/y'")
    assert runs.run([(1, "a")])[1] == 1
    runs.job = dataclasses.replace(runs.job, model=["a/x", "b/y"])
    plan, looked_up, requested = runs.run([(1, "a")])
    assert (looked_up, requested, plan.orphaned.shown) == (2, [1], "(2, b/y)")


def asked_samples(run, plan):
    sources = [pq.read_table(str(run.shard(shard.shard_id).source)) for shard in plan.shards]
    return sorted((row["id"], row["sample"]) for source in sources for row in source.to_pylist())


def test_where_samples_are_raised_only_the_further_ones_are_asked(make_any_runs):
    runs = make_any_runs(samples=2)
    rows = [(1, "a"), (2, "b"), (3, "a")]
    assert runs.run(rows)[2] == [1, 1, 2, 2, 3, 3]
    before = runs.execute("SELECT * FROM answers ORDER BY id, sample")
    assert len({row[-7] for row in before}) == 4  # custom_id: two texts, each asked twice
    runs.job = dataclasses.replace(runs.job, samples=3)
    run, plan, _ = runs.build([*rows, (4, "b")])
    assert asked_samples(run, plan) == [(1, 3), (2, 3), (3, 3), (4, 1), (4, 2), (4, 3)]
    assert (plan.rows, plan.unchanged, plan.orphaned.count, plan.target_key) == (6, 6, 0, ("id", "sample"))
    runs.finish(run, plan)
    assert runs.execute("SELECT * FROM answers WHERE sample < 3 AND id < 4 ORDER BY id, sample") == before
    # A row is as it was if each of its samples is.
    runs.execute("UPDATE answers SET status = 'failed' WHERE id = 2 AND sample = 2")
    run, plan, _ = runs.build([(1, "a"), (2, "b"), (3, "other")])
    assert asked_samples(run, plan) == [(2, 2), (3, 1), (3, 2), (3, 3)]
    assert (plan.unchanged, plan.orphaned.count) == (5, 3)


def test_samples_that_are_asked_no_more_stay_and_are_not_looked_for(make_any_runs):
    runs = make_any_runs(samples=3, orphaned_rows="remove")
    runs.run([(1, "a"), (2, "b")])
    runs.job = dataclasses.replace(runs.job, samples=2)
    plan, _, requested = runs.run([(1, "a")])
    assert (requested, plan.unchanged, plan.orphaned.count, plan.orphaned.not_requested) == ([], 2, 2, 2)
    assert runs.execute("SELECT id, sample FROM answers ORDER BY id, sample") == [(1, 1), (1, 2), (1, 3), (2, 3)]


def test_rows_that_are_unchanged_in_each_sample_are_not_rendered(make_runs):
    runs = make_runs(model=["a/x", "b/y"], samples=2)
    rows = [(1, "a"), (2, "b")]
    assert runs.run(rows)[1:] == (8, [1] * 4 + [2] * 4)
    plan, looked_up, requested = runs.run([*rows, (3, "c")])
    assert (looked_up, requested, plan.unchanged, plan.orphaned.count) == (4, [3] * 4, 8, 0)
    plan, looked_up, requested = runs.run(rows)
    assert (looked_up, requested, plan.unchanged, plan.orphaned.count) == (0, [], 8, 4)
    # Of a row whose one answer is not good, the others are.
    runs.execute("UPDATE answers SET status = 'failed' WHERE id = 2 AND model = 'b/y' AND sample = 2")
    assert runs.run(rows)[2] == [2]
    assert runs.run(rows)[1:] == (0, [])


def test_a_table_of_one_answer_to_each_row_keeps_them_as_the_first_samples(make_runs):
    runs = make_runs()
    runs.run([(1, "a"), (2, "b")])
    sampled = make_runs(samples=2)
    sampled.count = runs.count
    with pytest.raises(ConfigError, match=r"table answers has no column sample .* ADD COLUMN \"sample\" bigint"):
        sampled.run([(1, "a")])
    runs.execute("ALTER TABLE answers ADD sample bigint NOT NULL DEFAULT 1")
    runs.execute("CREATE UNIQUE INDEX several ON answers (id, sample)")
    with pytest.raises(ConfigError, match=r"unique index on \(id\) alone, .* one per sample\. .*: drop that index"):
        sampled.table.prepare(joined_schema(pa.schema([("id", pa.int64()), ("sample", pa.int64())]), FIELDS))
    runs.execute("ALTER TABLE answers DROP CONSTRAINT answers_pkey, ADD PRIMARY KEY (id, sample)")
    run, plan, _ = sampled.build([(1, "a"), (2, "b"), (3, "c")])
    assert asked_samples(run, plan) == [(1, 2), (2, 2), (3, 1), (3, 2)]


MOMENT = datetime.datetime(2024, 1, 2, 3, 4, 5, 6, datetime.UTC)


@pytest.mark.parametrize(
    "keys",
    [
        [("a", 1), ("a", 2), ("b", 1)],
        [(Decimal("1.50"), MOMENT), (Decimal("2.50"), MOMENT), (Decimal("1.50"), MOMENT + datetime.timedelta(days=1))],
        [("%s", datetime.date(2024, 2, 29)), ("", datetime.date(2024, 2, 29)), ("é'\"\\", datetime.date(2024, 2, 28))],
    ],
)
def test_keys_of_several_columns_and_any_type_are_known_again(make_runs, keys):
    target = SqlTarget(conn_id="db", table='odd "%s" name')
    runs = make_runs(("id", "part %", "text"), key=("id", "part %"), target=target)
    rows = [(*key, "text") for key in keys]
    runs.run(rows)
    plan, looked_up, _ = runs.run([*rows[:2], (*keys[2], "other")])
    assert (looked_up, plan.unchanged, plan.orphaned.count) == (1, 2, 0)


def test_a_run_that_is_built_again_is_noted_as_the_last_build_left_it(runs):
    rows = list((TEXTS | {2: "other"}).items())
    runs.build(rows, run_id="again")
    run, plan, looked_up = runs.build([*rows, (6, "new")], run_id="again")
    assert (keys_in(run, plan), looked_up) == ([2, 6], 2)
    runs.finish(run, plan)
    assert runs.run([*rows, (6, "new")])[1:] == (0, [])


def test_a_run_that_is_built_around_what_was_sent_is_not_noted(runs, caplog):
    caplog.set_level(logging.INFO)
    rows = list((TEXTS | {2: "other"}).items())
    run, plan, _ = runs.build(rows, run_id="again")
    (shard,) = plan.shards
    sent = Receipt(shard_id=shard.shard_id, state="created", file_id="f", batch_id="b")
    write_receipt(run.shard(shard.shard_id), sent)
    # The text is the old one again, and yet its answer will be that to the other.
    run, plan, looked_up = runs.build([*TEXTS.items(), (6, "new")], run_id="again")
    assert (keys_in(run, plan), looked_up) == ([2, 6], 5)
    caplog.clear()
    runs.finish(run, plan)
    assert NOTED not in caplog.text
    assert runs.run([*TEXTS.items(), (6, "new")])[1:] == (6, [2])
    assert runs.run([*TEXTS.items(), (6, "new")])[1:] == (0, [])


def test_two_runs_at_once_never_note_what_the_other_has_changed(runs):
    first = list((TEXTS | {2: "first"}).items())
    second = list((TEXTS | {3: "second"}).items())
    one, other = runs.build(first), runs.build(second)
    runs.finish(*one[:2])
    runs.finish(*other[:2])
    assert runs.run(first)[2] == [3]
    assert runs.run(second)[2] == [2, 3]


def test_a_database_that_makes_no_digest_is_asked_for_each_row(make_runs, caplog):
    caplog.set_level(logging.INFO)
    runs = make_runs()
    runs.execute("ALTER FUNCTION pg_catalog.hashtextextended(text, bigint) RENAME TO hash_of_later_versions")
    try:
        runs.run(list(TEXTS.items()))
        assert runs.run(list(TEXTS.items()))[1:] == (5, [])
    finally:
        # Other tests have the same database.
        runs.execute("ALTER FUNCTION pg_catalog.hash_of_later_versions(text, bigint) RENAME TO hashtextextended")
    assert "cannot compute a digest" in caplog.text
    assert not runs.cache.exists()


SOURCES = st.dictionaries(st.integers(0, 9), st.sampled_from(["a", "b", "", None]), max_size=8)
INSERTED = "INSERT INTO answers (id, model, status, run_id) VALUES (3, 'a/x', 'succeeded', 'x') ON CONFLICT DO NOTHING"
OWN = INSERTED.replace("run_id)", "run_id, greennode_job)").replace("'x') ON", "'x', 'job') ON")
EDITED = st.sampled_from(
    [
        "",
        "",
        "UPDATE answers SET status = 'failed' WHERE id % 3 = 0",
        "DELETE FROM answers WHERE id % 3 = 1",
        "UPDATE answers SET custom_id = 'x' WHERE id % 4 = 0",
        INSERTED,
        OWN,
    ]
)


# What a job asks, and what a run of a part of it does.
ASKS = st.sampled_from(
    [
        ({"model": "a/x"}, {}),
        ({"model": ("a/x",)}, {}),
        ({"model": ("a/x", "b/y")}, {"model": ("a/x",)}),
        ({"model": "a/x", "samples": 3}, {"samples": 2}),
        ({"model": ("a/x", "b/y"), "samples": 2}, {"model": ("b/y",)}),
    ]
)


# At full length it takes minutes.
@pytest.mark.timeout(1200)
@settings(max_examples=settings.default.max_examples // 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(SOURCES, st.booleans(), EDITED, st.booleans()), min_size=2, max_size=5),
    st.sampled_from(["report", "remove", "ignore"]),
    ASKS,
)
@example([({0: "a"}, False, "", False), ({0: "a"}, False, INSERTED, False)], "remove", ({"model": "a/x"}, {}))
@example([({0: "a"}, False, "", False), ({0: "a"}, False, OWN, False)], "remove", ({"model": "a/x"}, {}))
@example([({0: "a"}, False, "", False), ({0: "a", 3: "a"}, True, INSERTED, False)], "remove", ({"model": "a/x"}, {}))
def test_a_run_by_the_note_asks_tells_and_leaves_what_one_without_it_would(
    make_runs, tmp_path_factory, steps, orphaned_rows, model_samples
):
    root = tmp_path_factory.mktemp("staging")
    whole, part = model_samples
    runs = make_runs(orphaned_rows=orphaned_rows, **whole)
    looking = make_runs(orphaned_rows="report", **whole)
    runs.execute("DROP TABLE IF EXISTS answers")
    runs.root = root / "noted"
    is_new = True
    for number, (source, fails, edit, is_part) in enumerate(steps):
        if edit and not is_new:
            with_sample = edit.replace("(id", "(sample, id").replace("(3", "(1, 3") if "samples" in whole else edit
            runs.execute(with_sample)
        for one in (runs, looking):
            one.job = dataclasses.replace(one.job, **(whole | part if is_part else whole))
        rows = list(source.items())
        exact_run, exact, _ = looking.build(rows, root=root / f"exact {number}")
        run, plan, _ = runs.build(rows)
        assert keys_in(run, plan) == keys_in(exact_run, exact)
        assert (plan.rows, plan.unchanged) == (exact.rows, exact.unchanged)
        if orphaned_rows != "ignore" and exact.orphaned is not None:
            assert (plan.orphaned.count, plan.orphaned.shown) == (exact.orphaned.count, exact.orphaned.shown)
            assert plan.orphaned.not_requested == exact.orphaned.not_requested
        sources = [pq.ParquetFile(str(run.shard(shard.shard_id).source)) for shard in plan.shards]
        requested = [one for source in sources for one in source.read(use_threads=False).to_pylist()]
        runs.finish(run, plan, failed=[one["custom_id"] for one in requested[:1]] if fails else [])
        is_new = is_new and not plan.shards
        if orphaned_rows == "remove" and rows and not is_new:
            sample = "sample" if "samples" in whole else "1"
            stay = runs.execute(f"SELECT greennode_job, id, model, {sample} FROM answers")
            kept = [(owner, key) for owner, key, *ask in stay if tuple(ask) in runs.job.model_samples]
            own = {key for owner, key in kept if owner == runs.job.own_id}
            # A row without an owner is not this job's to remove, and keeps a good answer where the job's row has none.
            assert own <= source.keys() <= own | {key for owner, key in kept if owner is None}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    rows=st.lists(st.sampled_from(["a", "b", "c", None, "d", "e"]), min_size=1, max_size=8),
    gone=st.sets(st.tuples(st.integers(0, 7), st.sampled_from(MODELS))),
    limit=st.integers(1, 4),
)
def test_a_limited_run_asks_the_first_rows_that_lack_an_answer_of_some_model(
    make_any_runs, tmp_path_factory, rows, gone, limit
):
    runs = make_any_runs(model=MODELS)
    runs.execute("DROP TABLE IF EXISTS answers")
    runs.root = tmp_path_factory.mktemp("staging")
    rows = list(enumerate(rows))
    runs.run(rows)
    for number, model in gone:
        runs.execute(f"DELETE FROM answers WHERE id = {number} AND model = '{model}'")
    lacking = sorted({number for number, _ in gone if number < len(rows)})
    for first in range(0, len(lacking) + 1, limit):
        run, plan, _ = runs.build(rows, limit=limit)
        # Row by row, and of each row what it lacks, and nothing else.
        wanted = [number for number, model in sorted(gone) if number in lacking[first : first + limit]]
        assert keys_in(run, plan) == wanted
        runs.finish(run, plan)


def test_a_limited_run_reads_no_further_than_it_asks_and_is_bound_by_its_own_rows_alone(make_any_runs):
    runs = make_any_runs(budget=Budget(max_rows=2))
    rows = [(number, f"text {number}") for number in range(9)]
    run, plan, looked_up = runs.build(rows, limit=2)
    assert (keys_in(run, plan), looked_up < len(rows)) == ([0, 1], True)
    with pytest.raises(BudgetError, match="more than 2 rows"):
        runs.build(rows, limit=3)
    # All are asked again by `refresh`, answered or not.
    runs.finish(run, plan)
    runs.job = dataclasses.replace(runs.job, refresh="all")
    run, plan, _ = runs.build(rows, limit=2)
    assert keys_in(run, plan) == [0, 1]


@pytest.mark.parametrize("limit", [1, 3, 4, 9])
def test_a_limited_run_that_is_built_again_asks_no_more_rows_beside_those_that_were_sent(make_any_runs, limit):
    runs = make_any_runs(model=MODELS)
    rows = [(number, f"text {number}") for number in range(1, 6)]
    run, plan, _ = runs.build(rows, run_id="again", limit=3)
    sent = plan.shards[0]
    write_receipt(run.shard(sent.shard_id), Receipt(shard_id=sent.shard_id, state="created", batch_id="b", file_id="f"))
    # A row that came before the others does not push out one that was sent to one model and lacks the other.
    run, plan, _ = runs.build([(0, "new"), *rows], run_id="again", limit=limit)
    more = [0, 4, 5][: max(0, limit - 3)]
    assert keys_in(run, plan) == sorted([*range(1, 4), *more] * 2)
