"""Whose a row is: two jobs on one table, day after day, with runs of equal ids, and runs that come late."""

import sqlite3
from typing import NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.reconcile.report import report
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.receipts import Receipt, write_receipt
from greennode_batch.state.row_owner import run_order
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import prepare_targets, write_shard

FIELDS = AnswerReader(None).fields
DAY = 86_400.0


class Owned(NamedTuple):
    """A row of the table, as far as it matters here."""

    job: str | None
    text: str
    is_good: bool
    order: tuple[float, float] | None
    run_id: str


class Runs:
    """Runs of jobs on one table. Their requests are answered without a server."""

    def __init__(self, connection, root, make_job, **job):
        self.connection = connection
        self.root = root
        target = SqlTarget(conn_id="db", table="answers")
        options = {"key": "id", "carry": ("text",), "prompt": "{{ text }}", "target": target, **job}
        self.jobs = {name: make_job(name=name, **options) for name in "ab"}
        self.table = sql_table(connection, "answers", ("id",))
        self.now = 1e9

    def build(self, name, rows, *, day, attempt=0):
        """What a job asks for a day: its run, and its plan."""
        self.now += 1
        job = self.jobs[name]
        run = run_folder(self.root, f"dag_{name}", f"day {day} {attempt}")
        plan = build(
            job,
            lambda: Rows.from_tuples(("id", "text"), [list(rows.items())] if rows else []),
            run,
            run_id=f"day {day} {attempt}",
            profile=ApiProfile(),
            target_lookups=[TableLookup(self.table, job_id=job.own_id)],
            data_until=1e9 + day * DAY,
            clock=lambda: self.now,
        )
        prepare_targets([self.table], run, plan, answer_fields=FIELDS)
        return run, plan

    def join(self, run, plan, failed=()):
        """Answer what a run asks, and write it. failed: texts whose request has no answer."""
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            source = pq.read_table(str(shard.source))
            texts = dict(zip(source["custom_id"].to_pylist(), source["text"].to_pylist(), strict=True))
            status = ["failed" if text in failed else "succeeded" for text in texts.values()]
            given = {"custom_id": list(texts), "status": status, "batch_id": ["b"] * len(texts)}
            schema = pa.schema([*RESULT_FIELDS, *FIELDS])
            columns = [given.get(field.name, pa.nulls(len(texts), field.type)) for field in schema]
            pq.write_table(pa.table(columns, schema=schema), str(shard.results))
            write_receipt(shard, Receipt(shard_id=shard.shard_id, state="collected", file_id="f", batch_id="b"))
            self.write(run, plan, planned)

    def write(self, run, plan, planned):
        shard = run.shard(planned.shard_id)
        with join_shard(shard, owner=plan.owner, answer_fields=FIELDS) as joined:
            write_shard(shard, joined, [self.table], key=("id",))

    def report(self, run, plan):
        known = AnsweredTable(self.table, run, run_id=plan.run_id)
        made = report(run, *written_rows(run, [self.table], run_id=plan.run_id), answered_table=known)
        assert made.problems == ()
        return made

    def run(self, name, rows, *, day, failed=()):
        """A whole run: its report, and which rows it asked."""
        run, plan = self.build(name, rows, day=day)
        self.join(run, plan, failed)
        return self.report(run, plan), requested(run, plan)

    def execute(self, statement):
        if isinstance(self.connection, sa.Engine):
            with self.connection.begin() as tx:
                done = tx.exec_driver_sql(statement)
                return list(map(tuple, done)) if done.returns_rows else []
        done = self.connection.execute(statement)
        found = done.fetchall() if done.description else []
        self.connection.commit()
        return found

    def owners(self):
        return dict(self.execute("SELECT id, greennode_job FROM answers"))


def requested(run, plan):
    sources = [pq.read_table(str(run.shard(shard.shard_id).source)) for shard in plan.shards]
    return {number for source in sources for number in source["id"].to_pylist()}


@pytest.fixture(params=["postgres", "sqlite", "sqlalchemy"])
def connection(request, tmp_path):
    """A database, as a target opens it."""
    if request.param == "postgres":
        opened = psycopg.connect(request.getfixturevalue("database"))
    elif request.param == "sqlite":
        opened = sqlite3.connect(tmp_path / "target.db")
    else:
        opened = sa.create_engine(f"sqlite:///{tmp_path}/target.db")
    yield opened
    opened.dispose() if isinstance(opened, sa.Engine) else opened.close()


@pytest.fixture
def make_runs(connection, tmp_path, make_job):
    return lambda **job: Runs(connection, tmp_path / "staging", make_job, **job)


def test_each_of_two_jobs_counts_and_removes_its_own_rows_alone(make_runs):
    runs = make_runs(orphaned_rows="remove")
    begun = [(name, *runs.build(name, rows, day=1)) for name, rows in (("a", {1: "x", 2: "y"}), ("b", {3: "z"}))]
    for _, run, plan in begun:
        runs.join(run, plan)
    assert [runs.report(run, plan).statuses for _, run, plan in begun] == [{"succeeded": 2}, {"succeeded": 1}]
    made, rows = runs.run("a", {1: "x", 4: "w"}, day=2)
    assert (made.orphaned.count, made.orphaned.removed, rows) == (1, True, {4})
    made, rows = runs.run("b", {3: "z"}, day=2)
    assert (made.orphaned.count, made.unchanged, rows) == (0, 1, set())
    assert runs.owners() == {1: "a", 3: "b", 4: "a"}


def test_of_a_row_that_two_jobs_write_the_later_write_counts_and_nothing_is_to_be_deleted(make_runs):
    runs = make_runs()
    first, second = (runs.build(name, {1: name, 2: f"{name}2"}, day=1) for name in "ab")
    runs.join(*first)
    assert runs.report(*first).taken_over == 0
    runs.join(*second)
    assert runs.report(*second).taken_over == 0
    made = runs.report(*first)
    assert (made.taken_over, made.superseded) == (2, 0)
    assert "2 rows were overwritten by another job that shares the target" in str(made)


def test_the_answer_of_another_job_is_not_paid_again_and_stays_its_own(make_runs):
    runs = make_runs(orphaned_rows="remove")
    runs.run("a", {1: "x", 2: "y"}, day=1)
    made, rows = runs.run("b", {1: "x"}, day=1)
    assert (made.unchanged, made.orphaned.count, rows) == (1, 0, set())
    # What served both goes with its owner, and then it is asked by the other.
    runs.run("a", {2: "y"}, day=2)
    assert runs.run("b", {1: "x"}, day=2)[1] == {1}
    assert runs.owners() == {1: "b", 2: "a"}


def test_an_older_run_leaves_what_a_later_one_wrote_and_its_report_says_how_much(make_runs):
    runs = make_runs(refresh="all")
    older = runs.build("a", {1: "old", 2: "old too", 3: "gone"}, day=1)
    runs.run("a", {1: "new", 2: "new too"}, day=2)
    runs.join(*older)
    assert runs.report(*older).superseded == 2
    texts = [(1, "new"), (2, "new too"), (3, "gone")]
    assert sorted(runs.execute("SELECT id, text FROM answers")) == texts
    # Its join is cleared.
    run, plan = older
    for planned in plan.shards:
        runs.write(run, plan, planned)
    assert runs.report(*older).superseded == 2
    # A backfill of a day before that.
    made, _ = runs.run("a", {1: "oldest", 4: "late"}, day=0)
    assert (made.left_to_later, made.rows, made.answers_for) == (1, 1, 2)
    assert sorted(runs.execute("SELECT id, text FROM answers")) == [*texts, (4, "late")]


def test_an_older_run_does_not_remove_what_a_later_one_wrote(make_runs):
    runs = make_runs(orphaned_rows="remove")
    runs.run("a", {1: "x", 3: "z"}, day=1)
    runs.run("a", {1: "x", 2: "y", 3: "z"}, day=3)
    assert runs.run("a", {1: "x"}, day=2)[0].orphaned.shown == "3"
    assert runs.owners() == {1: "a", 2: "a"}
    assert runs.run("a", {1: "x"}, day=4)[0].orphaned.shown == "2"


def test_rows_that_left_are_removed_also_where_all_is_asked_again(make_runs):
    runs = make_runs(orphaned_rows="remove", refresh="all")
    runs.run("a", {1: "x", 2: "y"}, day=1)
    made, model_samples = runs.run("a", {1: "x"}, day=2)
    assert (model_samples, made.orphaned.shown, made.orphaned.removed, runs.owners()) == ({1}, "2", True, {1: "a"})


def test_rows_that_a_later_run_removed_are_not_lost_to_the_report_of_an_earlier_one(make_runs):
    runs = make_runs(orphaned_rows="remove")
    run, plan = runs.build("a", {1: "x", 2: "y", 3: "z"}, day=1)
    runs.join(run, plan)
    runs.build("a", {1: "x", 2: "y"}, day=2)
    assert runs.report(run, plan).superseded == 1
    # A build that is cleared has nothing left to remove.
    runs.build("a", {1: "x", 2: "y"}, day=2)
    assert runs.report(run, plan).superseded == 1
    runs.execute("DELETE FROM answers WHERE id = 2")
    made = report(run, *written_rows(run, [runs.table], run_id=plan.run_id))
    assert "rows that are not in the target (2): 2, 3" in made.problems[0]


def test_a_row_that_another_job_has_removed_is_lost_and_the_error_names_that_case(make_runs):
    runs = make_runs(orphaned_rows="remove")
    run, plan = runs.build("b", {1: "x", 2: "y"}, day=1)
    runs.join(run, plan)
    runs.run("a", {2: "changed"}, day=2)
    runs.run("a", {3: "z"}, day=3)
    made = report(run, *written_rows(run, [runs.table], run_id=plan.run_id))
    assert 'if another job, or a run whose staging is gone, removed them by orphaned_rows="remove"' in made.problems[0]


def test_a_run_without_a_date_of_its_data_is_of_the_moment_when_it_was_built():
    assert run_order(None, 5.0) > run_order(4.0, 9.0) > run_order(4.0, 8.0)


class SharedTable(RuleBasedStateMachine):
    """Days of two jobs whose sources overlap, on a table of which a version before has written some rows.

    The model: which row is whose, and what it answers. What is asked, removed, written and reported follows from it.
    """

    ids = st.integers(1, 4)
    texts = st.sampled_from(["x", "y", "z"])
    tables = st.dictionaries(ids, texts, min_size=1)
    some = st.sets(texts, max_size=1)

    def __init__(self, make_runs):
        super().__init__()
        self.runs = make_runs()
        self.rows = {}
        self.sources = {}
        self.begun = {}
        self.done = {"a": [], "b": []}

    @initialize(rows=tables, failed=some, of_a=tables, of_b=tables)
    def begin_after_a_version_before(self, rows, failed, of_a, of_b):
        self.runs.run("a", rows, day=0, failed=failed)
        self.runs.execute("UPDATE answers SET greennode_job = NULL, greennode_order = NULL, run_id = 'before'")
        self.rows = {number: Owned(None, text, text not in failed, None, "before") for number, text in rows.items()}
        self.sources = {"a": of_a, "b": of_b}

    @precondition(lambda self: len(self.begun) < len(self.sources))
    @rule(data=st.data(), day=st.integers(1, 3), changes=st.dictionaries(ids, texts | st.none()))
    def change_a_source_and_build(self, data, day, changes):
        name = data.draw(st.sampled_from(sorted(self.sources.keys() - self.begun.keys())))
        changed = {**self.sources[name], **changes}
        self.sources[name] = {number: text for number, text in changed.items() if text is not None}
        source, count = self.sources[name], sum(day == order[0] for *_, order, _ in self.done[name])
        run, plan = self.runs.build(name, source, day=day, attempt=count)
        same = {
            number
            for number, text in source.items()
            if number in self.rows and (self.rows[number].text, self.rows[number].is_good) == (text, True)
        }
        order = (day, self.runs.now)
        # What a run of a later day wrote for another text would stay.
        later = {
            number
            for number in source.keys() & self.rows.keys() - same
            if self.rows[number].order is not None and self.rows[number].order > order
        }
        assert requested(run, plan) == source.keys() - same - later
        assert (plan.unchanged, plan.superseded) == (len(same), len(later))
        for number in same:
            if self.rows[number].job is None:
                self.rows[number] = self.rows[number]._replace(job=name)
        orphaned = {
            number
            for number, row in self.rows.items()
            if row.job == name and number not in source and not (row.order and row.order > order)
        }
        if source:
            assert plan.orphaned.count == len(orphaned)
            self.rows = {number: row for number, row in self.rows.items() if number not in orphaned}
        model_samples = {number: text for number, text in source.items() if number not in same | later}
        self.begun[name] = (run, plan, model_samples, order)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), failed=some)
    def finish(self, data, failed):
        name = data.draw(st.sampled_from(sorted(self.begun)))
        run, plan, model_samples, order = self.begun.pop(name)
        self.runs.join(run, plan, failed)
        self.done[name].append((run, plan, model_samples, order, failed))
        self.write(name, *self.done[name][-1][1:])
        self.check_report(name, self.done[name][-1])

    @precondition(lambda self: any(self.done.values()))
    @rule(data=st.data())
    def join_a_run_again(self, data):
        name, ended = data.draw(st.sampled_from([(name, one) for name in "ab" for one in self.done[name]]))
        run, plan, *_ = ended
        for planned in plan.shards:
            self.runs.write(run, plan, planned)
        self.write(name, *ended[1:])
        self.check_report(name, ended)

    @precondition(lambda self: any(self.done.values()))
    @rule(data=st.data())
    def report_again(self, data):
        name = data.draw(st.sampled_from([name for name in "ab" if self.done[name]]))
        self.check_report(name, self.done[name][-1])

    def write(self, name, plan, model_samples, order, failed):
        for number, text in model_samples.items():
            new = Owned(name, text, text not in failed, order, plan.run_id)
            old = self.rows.get(number)
            if old is not None:
                is_own = old.run_id == new.run_id and old.job in {name, None}
                is_later = old.order is not None and old.order > order
                if is_later or (old.is_good and not new.is_good and not is_own):
                    continue
            self.rows[number] = new

    def check_report(self, name, ended):
        run, plan, model_samples, order, failed = ended
        indexes = [(self.rows.get(number), text) for number, text in model_samples.items()]
        others = [(row, text) for row, text in indexes if row is None or (row.job, row.run_id) != (name, plan.run_id)]
        # What the other job has taken over it may remove as well, and what that makes room for may be written again.
        if any(row is None or (is_before(row, order) and not (row.is_good and text in failed)) for row, text in others):
            return
        made = self.runs.report(run, plan)
        assert made.superseded + made.taken_over + made.kept_answers == len(others)
        later = [row.job for row, _ in others if row.order is not None and row.order > order]
        assert made.taken_over == sum(job != name for job in later)

    @invariant()
    def the_table_is_as_the_model_says(self):
        query = "SELECT id, greennode_job, text, status = 'succeeded', run_id FROM answers"
        held = {number: (*row,) for number, *row in self.runs.execute(query)}
        assert held == {number: (row.job, row.text, row.is_good, row.run_id) for number, row in self.rows.items()}


def is_before(row, order):
    return row.order is not None and row.order < order


@pytest.mark.parametrize("connection", ["postgres", "sqlite"], indirect=True)
def test_two_jobs_share_a_table_for_days_and_neither_harms_the_other(connection, tmp_path_factory, make_job):
    def make_runs():
        connection.execute("DROP TABLE IF EXISTS answers")
        connection.commit()
        return Runs(connection, tmp_path_factory.mktemp("staging"), make_job, orphaned_rows="remove")

    machine = settings(max_examples=settings().max_examples // 5, stateful_step_count=12)
    run_state_machine_as_test(lambda: SharedTable(make_runs), settings=machine)
