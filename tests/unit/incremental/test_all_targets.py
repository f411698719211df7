"""Days of a job whose targets change: each row is asked once, and every target gets its answer."""

import dataclasses
import sqlite3
from collections import Counter
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from upath import UPath

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.plan.build import build
from greennode_batch.reconcile.report import check_balanced, report
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Receipt, write_receipt
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.file_lookup import file_lookup
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import prepare_targets, write_shard


class Label(BaseModel):
    label: str
    score: float


class Days:
    """Runs of one job, answered at once, into targets that are named anew each day."""

    def __init__(self, folder, make_job, **job):
        self.folder = folder
        self.job = make_job(answer=Label, max_shard_requests=3, **job)
        self.database = sqlite3.connect(folder / "targets.db")
        self.requested = Counter()
        self.count = 0

    def open(self, name, run):
        if name.startswith("files"):
            return Dataset(UPath(self.folder / name), run, partition_by=("label",) if name == "files_by_label" else ())
        return sql_table(self.database, name, self.job.target_key)

    def known(self, names, run, stack):
        opened = [self.open(name, run) for name in names]
        return [
            stack.enter_context(file_lookup(one, self.job.target_key)) if isinstance(one, Dataset) else TableLookup(one)
            for one in opened
        ]

    def run(self, names, rows, *, failing=(), stop=None, **job):
        """One day: its plan and report. failing: texts whose requests fail. stop: a step after which it ends."""
        self.count += 1
        self.job = dataclasses.replace(self.job, **job)
        return self.go_on(names, rows, failing=failing, stop=stop)

    def go_on(self, names, rows, *, failing=(), stop=None):
        """The same day once more, as if its build was cleared."""
        run = run_folder(self.folder / "staging", "dag", f"run {self.count}")
        with ExitStack() as stack:
            plan = build(
                self.job,
                lambda: Rows.from_tuples(("id", "text"), [list(rows.items())] if rows else []),
                run,
                run_id=run.path.name,
                profile=ApiProfile(),
                target_lookups=self.known(names, run, stack),
                clock=lambda: 1_000_000.0 + self.count,
            )
        targets = [self.open(name, run) for name in names]
        fields = AnswerReader(self.job.answer).fields
        prepare_targets(targets, run, plan, answer_fields=fields)
        if stop == "built":
            return plan, None
        for number, planned in enumerate(plan.shards):
            shard = run.shard(planned.shard_id)
            if planned.requests and not shard.results.exists():
                self._answer(shard, fields, failing)
            with join_shard(shard, owner=plan.owner, answer_fields=fields) as joined:
                write_shard(shard, joined, targets, key=self.job.target_key)
            if stop == f"joined {number}":
                return plan, None
        made = report(run, *written_rows(run, targets, run_id=plan.run_id))
        check_balanced(made)
        return plan, made

    def _answer(self, shard, fields, failing):
        source = pq.read_table(str(shard.source))
        texts = dict(zip(source["custom_id"].to_pylist(), source["text"].to_pylist(), strict=True))
        texts.pop(None, None)  # of a row that is not sent
        rows = []
        for custom_id, text in texts.items():
            self.requested[custom_id] += 1
            row = {"custom_id": custom_id, "status": "failed", "batch_id": f"b{self.count}", "ask_again": False}
            if text not in failing:
                row |= {"status": "succeeded", "label": f"{text} on day {self.count}", "score": self.count / 2}
            rows.append(row)
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([*RESULT_FIELDS, *fields])), str(shard.results))
        write_receipt(shard, Receipt(shard.shard_id, "collected", "f", batch_id=f"b{self.count}"))

    def rows(self, name):
        """What a target holds, by key; no key is there twice."""
        if name.startswith("files"):
            by_label = ds.partitioning(pa.schema([("label", pa.string())]), flavor="hive")
            partitioning = by_label if name == "files_by_label" else None
            buffered = ds.dataset(self.folder / name, partitioning=partitioning).to_table().to_pylist()
            found = [tuple(row[c] for c in ("id", "text", "label", "score", "status", "batch_id")) for row in buffered]
        else:
            found = self.database.execute(f"SELECT id, text, label, score, status, batch_id FROM {name}").fetchall()
        assert len(found) == len({row[0] for row in found})
        return {row[0]: row[1:] for row in found}


@pytest.fixture
def days(tmp_path, make_job):
    return Days(tmp_path, make_job, carry=("text",))


ROWS = {1: "a", 2: "b", 3: "c", 4: "d", 5: "e"}


@pytest.mark.parametrize("second", ["second", "files", "files_by_label"])
@pytest.mark.parametrize("first", ["first", "files_of_before"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_target_that_is_added_gets_the_answers_that_the_other_has(days, first, second, is_first):
    order = [second, first] if is_first else [first, second]
    days.run([first], ROWS)
    plan, made = days.run(order, ROWS | {6: "f"})
    assert (plan.requests, plan.copied, plan.unchanged) == (1, 5, 0)
    assert (made.rows, made.copied, made.statuses) == (6, 5, {"succeeded": 6})
    assert days.rows(first) == days.rows(second)
    assert days.rows(second)[2] == ("b", "b on day 1", 0.5, "succeeded", "b1")
    plan, _ = days.run(order, ROWS | {6: "f"})
    assert (plan.rows, plan.unchanged) == (0, 6)
    assert set(days.requested.values()) == {1}


def test_each_row_gets_its_own_answer_in_whatever_order_a_target_gives_them(days, monkeypatch):
    days.run(["first"], ROWS)
    stored = TableLookup.stored
    monkeypatch.setattr(TableLookup, "stored", lambda *given: stored(*given).sort_by([("index", "descending")]))
    days.run(["first", "second"], ROWS)
    assert days.rows("second") == days.rows("first")


@pytest.mark.parametrize("names", [["first"], ["files"], ["files_by_label"], ["first", "files"], ["files", "files_2"]])
def test_a_day_asks_what_is_new_or_changed_and_no_row_is_there_twice(days, names):
    days.run(names, ROWS)
    plan, made = days.run(names, ROWS | {2: "other", 6: "f"})
    assert (plan.requests, plan.copied, plan.unchanged, made.balanced) == (2, 0, 4, True)
    for name in names:
        assert {key: row[1] for key, row in days.rows(name).items()} == {
            **{key: f"{text} on day 1" for key, text in ROWS.items()},
            2: "other on day 2",
            6: "f on day 2",
        }


@pytest.mark.parametrize("names", [["first"], ["files"], ["files", "first"]])
def test_a_failure_does_not_take_the_place_of_a_good_answer(days, names):
    days.run(names, ROWS)
    before = days.rows(names[0])
    plan, made = days.run(names, ROWS, failing={"b", "c"}, refresh="all")
    assert (plan.requests, plan.answered_before, made.kept_answers) == (5, 5, 2)
    for name in names:
        after = days.rows(name)
        assert {key for key in ROWS if after[key] == before[key]} == {2, 3}
        assert {row[3] for row in after.values()} == {"succeeded"}
    assert days.run(names, ROWS, refresh="changed")[0].unchanged == 5


@pytest.mark.parametrize("refresh", ["changed", "all"])
def test_rows_that_are_asked_though_they_are_answered_are_counted_and_told_with_their_cost(days, refresh):
    prices = {days.job.models[0]: [2_000_000, 2_000_000], "currency": "USD"}
    days.run(["first", "files"], ROWS, prices=prices, params={"max_tokens": 10})
    # An empty prompt is not sent.
    rows = ROWS | {2: "other", 5: "", 6: "f"}
    plan, _ = days.run(["first", "files"], rows, refresh=refresh, prompt="{{ text }}{# another body #}")
    assert plan.answered_before == {"changed": 1, "all": 4}[refresh]
    assert plan.repeat_warning.startswith(f"{plan.answered_before} row")
    share = plan.estimate.cost * plan.answered_before / plan.requests
    assert plan.repeat_warning.endswith(f"will be sent again, for about {share:.2f} USD")
    plan, _ = days.run(["files_of_today"], ROWS)
    assert (plan.requests, plan.repeat_warning) == (5, "")


@pytest.mark.parametrize("stop", ["built", "joined 0", None])
@pytest.mark.parametrize("names", [["first", "files"], ["files", "first"], ["files", "files_2"]])
def test_a_run_that_is_built_again_after_any_end_copies_all(days, names, stop):
    days.run(names[:1], ROWS)
    days.run(names, ROWS | {6: "f"}, stop=stop)
    _, made = days.go_on(names, ROWS | {6: "f"})
    assert made.balanced
    assert days.rows(names[0]) == days.rows(names[1])
    assert len(days.rows(names[1])) == 6
    assert set(days.requested.values()) == {1}


def test_an_older_run_that_is_joined_again_leaves_the_later_one_s_rows(days):
    days.run(["files"], ROWS)
    days.run(["files"], ROWS | {2: "other"})
    days.count = 1
    _, made = days.go_on(["files"], ROWS)
    assert (made.balanced, made.superseded) == (True, 1)
    assert days.rows("files")[2][0] == "other"


def test_a_target_that_lacks_a_column_of_the_answer_gives_none(days):
    days.run(["first"], ROWS)
    days.database.execute("ALTER TABLE first RENAME COLUMN score TO rating")
    days.database.execute("ALTER TABLE first ADD COLUMN score text DEFAULT 'high'")
    plan, _ = days.run(["first", "second"], ROWS)
    assert (plan.requests, plan.copied) == (5, 0)


@pytest.mark.parametrize(("before", "after"), [("first", "files"), ("files", "first")])
def test_each_model_and_sample_of_a_row_is_copied(tmp_path, make_job, before, after):
    days = Days(tmp_path, make_job, carry=("text",), model=["m", "n"], samples=2)
    days.run([before], ROWS)
    plan, made = days.run([before, after], ROWS)
    assert (plan.requests, plan.copied, made.copied, made.balanced) == (0, 20, 20, True)
    plan, _ = days.run([after], ROWS, samples=3)
    assert (plan.requests, plan.unchanged) == (10, 20)


def test_a_target_that_is_dropped_between_build_and_join_is_no_difference(days):
    days.run(["first"], ROWS)
    days.run(["first", "second"], ROWS, stop="built")
    run = run_folder(days.folder / "staging", "dag", "run 2")
    plan = read_plan(run)
    (planned,) = plan.shards
    with join_shard(run.shard(planned.shard_id), owner=plan.owner, answer_fields=AnswerReader(Label).fields) as joined:
        write_shard(run.shard(planned.shard_id), joined, [days.open("first", run)], key=("id",))
    assert report(run, *written_rows(run, [days.open("first", run)], run_id=plan.run_id)).balanced


NAMES = ("first", "second", "files", "files_by_label")
DAY = st.tuples(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    st.dictionaries(st.integers(1, 6), st.sampled_from("abcd"), max_size=6),
    st.sets(st.sampled_from("abcd"), max_size=1),
)


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(DAY, min_size=2, max_size=4))
def test_whatever_targets_and_rows_come_and_go(tmp_path_factory, make_job, history):
    """The model: a row is asked only if no target of the day has its answer, and then every target has it."""
    days = Days(tmp_path_factory.mktemp("days"), make_job, carry=("text",))
    buffered = {name: {} for name in NAMES}
    for names, rows, failing in history:
        before = days.requested.total()
        answered = {key: any(buffered[name].get(key) == text for name in names) for key, text in rows.items()}
        days.run(names, rows, failing=failing)
        assert days.requested.total() - before == len({text for key, text in rows.items() if not answered[key]})
        for name in names:
            buffered[name] |= {key: text for key, text in rows.items() if answered[key] or text not in failing}
            found = days.rows(name) if rows or buffered[name] else {}
            assert found.keys() >= rows.keys()
            good = {key: row[0] for key, row in found.items() if row[3] == "succeeded"}
            assert good == buffered[name]
            assert all(found[key][1].startswith(f"{text} on day") for key, text in good.items())
    days.database.close()


@pytest.mark.parametrize("names", [("labels", "files"), ("files", "labels")])
def test_rows_that_were_removed_from_a_table_are_told_though_a_dataset_keeps_them(days, names):
    days.run(names, ROWS, orphaned_rows="remove")
    days.run(names, {1: "a", 2: "b", 3: "c"})
    plan, made = days.run(names, {1: "a", 2: "b"})
    assert (plan.orphaned.count, plan.orphaned.shown, plan.orphaned.removed) == (1, "3", True)
    assert made.orphaned == plan.orphaned
    assert (days.rows("labels").keys(), days.rows("files").keys()) == ({1, 2}, ROWS.keys())
