"""Final outcomes over days: what a table remembers, who is asked, and how each run is judged."""

import dataclasses
import logging
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.collect import collect_shard
from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.errors import FailedRowsError
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.job.targets import SqlTarget
from greennode_batch.plan.build import build
from greennode_batch.reconcile.record_answers import AnsweredTable
from greennode_batch.reconcile.report import check_balanced, check_failed_ratio, report
from greennode_batch.reconcile.written import TableRows
from greennode_batch.request.request_lines import lines_of
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.attempts import attempt_shards
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Receipt, read_receipt, write_receipt
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.final_outcomes import FinalOutcomes
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import prepare_targets, write_shard

READER = AnswerReader(None)
# By the word of a row's text: status, error, and whether another attempt may end better.
OUTCOMES = {
    "good": ("succeeded", None, False),
    "refused": ("refused", "I will not", False),
    "cut": ("truncated", "cut off at max_tokens", False),
    "misfit": ("invalid_output", "the answer is empty", True),
    "bad": ("failed", "400 invalid_request_error no", False),
    "large": ("failed", "413 too large", False),
    "broke": ("failed", "402 no credit", False),
    "retired": ("failed", "404 model_not_found", False),
    "busy": ("failed", "503 busy", True),
    "late": ("expired", "the batch expired", True),
}
FINAL = {"refused", "cut", "misfit", "bad", "large", ""}


class Days:
    """Runs of a job one after the other; what becomes of a request is written in its prompt, or said for the day."""

    def __init__(self, connection, root, job):
        self.connection, self.root, self.job = connection, root, job
        self.table = sql_table(connection, "answers", job.target_key)
        self.count = 0

    def build(self, rows, run_id, **changes):
        job = dataclasses.replace(self.job, **changes)
        run = run_folder(self.root, "dag", run_id)
        rows = [(number, text) for number, text in rows.items()]
        plan = build(
            job,
            lambda: Rows.from_tuples(("id", "text"), [rows] if rows else []),
            run,
            run_id=run_id,
            profile=ApiProfile(),
            target_lookups=[] if job.refresh == "all" else [TableLookup(self.table)],
        )
        if plan.shards:
            prepare_targets([self.table], run, plan, answer_fields=READER.fields)
        return job, run, plan

    def carry(self, job, run, plan, today):
        """Answer all attempts."""
        for attempt in range(1, job.attempts + 1):
            if attempt > 1:
                build_retry(job, run, plan, attempt=attempt, profile=ApiProfile())
            for shard in attempt_shards(run, plan, attempt):
                if read_receipt(shard) is None:
                    answer(shard, lambda text: today.get(text, text.partition(" ")[0]))

    def join(self, run, plan):
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            final = FinalOutcomes(run, plan)
            with join_shard(shard, owner=plan.owner, answer_fields=READER.fields, final=final) as joined:
                write_shard(shard, joined, [self.table], key=self.job.target_key)

    def finish(self, job, run, plan, today=None):
        self.carry(job, run, plan, today or {})
        self.join(run, plan)
        known = None if job.refresh == "all" else AnsweredTable(self.table, run, run_id=plan.run_id)
        made = report(run, TableRows(self.table, plan.run_id), answered_table=known)
        check_balanced(made)
        return made

    def day(self, rows, today=None, **changes):
        """The next run: (which ids it asks, its report). today: what becomes of some texts on that day."""
        self.count += 1
        job, run, plan = self.build(rows, f"day {self.count}", **changes)
        return asked_in(run, plan), self.finish(job, run, plan, today)

    def held(self):
        found = self.connection.execute("SELECT id, status, greennode_final FROM answers ORDER BY id").fetchall()
        self.connection.commit()
        return {number: tuple(rest) for number, *rest in found}


def answer(shard, outcome_of):
    rows = []
    for line in lines_of(shard):
        request = line.decode()
        text = request.partition('"content":"')[2].partition('"')[0]
        status, error, again = OUTCOMES[outcome_of(text)]
        custom_id = request.partition('"custom_id":"')[2].partition('"')[0]
        rows.append({"custom_id": custom_id, "status": status, "error": error, "ask_again": again, "batch_id": "b"})
    schema = pa.schema([*RESULT_FIELDS, *READER.fields], metadata=READER.mark)
    pq.write_table(pa.Table.from_pylist(rows, schema), str(shard.results))
    statuses = dict(Counter(row["status"] for row in rows))
    write_receipt(shard, Receipt(shard.shard_id, "collected", "f", batch_id="b", statuses=statuses))


def asked_in(run, plan):
    sources = [pq.read_table(str(run.shard(shard.shard_id).source)) for shard in plan.shards]
    return sorted(number for source in sources for number in source["id"].to_pylist())


def is_green(made, ratio=0.05):
    try:
        check_failed_ratio(made, ratio)
    except FailedRowsError:
        return False
    return True


@pytest.fixture(params=["postgres", "sqlite"])
def make_days(request, make_job, tmp_path):
    kind = request.param
    if kind == "sqlite":
        opened = sqlite3.connect(tmp_path / "target.db")
    else:
        opened = psycopg.connect(request.getfixturevalue("database"))
    with closing(opened):

        def make(root=tmp_path / "staging", **job):
            target = SqlTarget(conn_id="db", table="answers")
            return Days(opened, root, make_job(key="id", target=target, prompt="{{ text }}", **job))

        yield make


@pytest.mark.parametrize("text", ["refused", "bad", "cut", "misfit", "", None])
def test_one_row_that_never_gets_an_answer_turns_no_later_day_red_and_is_not_asked_again(make_days, text):
    days = make_days()
    rows = {number: f"good {number}" for number in range(39)} | {39: text}
    requested, made = days.day(rows)
    assert (len(requested), is_green(made)) == (40, True)
    status = "unsent" if not text else OUTCOMES[text][0]
    for _ in range(2):
        requested, made = days.day(rows)
        assert (requested, made.unchanged, made.remembered, made.answers_for) == ([], 39, {status: 1}, 40)
        assert is_green(made, 0.0)
        assert f"1 row is not sent again, because the outcome of the same request is final (1 {status})" in str(made)
    # A row that fails newly is one of all rows, and one of them too many only if the job says so.
    requested, made = days.day(rows | {40: "refused too"})
    assert (requested, made.answers_for, is_green(made), is_green(made, 0.02)) == ([40], 41, True, False)


@pytest.mark.parametrize("text", ["broke", "retired", "busy", "late"])
def test_what_somebody_or_time_may_put_right_is_asked_each_day(make_days, text):
    days = make_days()
    rows = {1: "good", 2: text}
    assert days.day(rows)[0] == [1, 2]
    assert days.held()[2][1] is None
    assert days.day(rows)[0] == [2]
    assert days.day(rows, {text: "good"})[0] == [2]
    assert days.day(rows)[0] == []


def test_a_changed_request_and_a_person_ask_again_what_is_final(make_days):
    days = make_days()
    rows = {1: "good", 2: "refused", 3: "", 4: "misfit"}
    days.day(rows)
    assert days.day(rows, retry_final=True)[0] == [2, 3, 4]
    # That run knows what it has found, too.
    assert days.day(rows)[0] == []
    requested, made = days.day(rows | {2: "refused as well", 3: "good now"})
    assert (requested, made.statuses) == ([2, 3], {"refused": 1, "succeeded": 1})
    assert days.day(rows | {3: "good now"})[0] == [2]


def test_what_ends_the_row_itself_is_asked_once_that_changes(make_days):
    days = make_days()
    rows = {1: "good", 2: "good " * 100}
    assert days.day(rows, max_shard_bytes=400)[1].statuses == {"succeeded": 1, "unsent": 1}
    assert days.day(rows, max_shard_bytes=400)[1].remembered == {"unsent": 1}
    assert days.day(rows)[0] == [2]
    assert days.day(rows, max_shard_bytes=400)[1].unchanged == 2


def test_an_invalid_answer_is_final_after_the_last_attempt_alone(make_days):
    days = make_days(attempts=3)
    job, run, plan = days.build({1: "misfit"}, "r")
    for attempts, final in ((1, None), (2, None), (3, READER.model_hash)):
        days.carry(dataclasses.replace(job, attempts=attempts), run, plan, {})
        days.join(run, plan)
        assert days.held() == {1: ("invalid_output", final)}
    # A plan of a version before does not say how many there are.
    days.join(run, msgspec.structs.replace(plan, attempts=0))
    assert days.held() == {1: ("invalid_output", None)}


def test_nothing_is_final_of_a_run_that_fails_systematically(make_days):
    days = make_days(max_shard_requests=5)
    rows = {number: f"{'bad' if number < 11 else 'good'} {number}" for number in range(20)} | {20: ""}
    _, made = days.day(rows)
    assert {final for _, final in days.held().values()} == {None}
    assert [is_green(made, ratio) for ratio in (0.05, 0.5, 0.54, 0.9, 1.0)] == [False, False, False, True, True]
    assert days.day(rows)[0] == [*range(11), 20]


@pytest.mark.parametrize(("requests", "failed", "is_systematic"), [(19, 19, False), (20, 10, False), (20, 11, True)])
def test_over_half_of_twenty_requests_are_too_many_however_large_the_table(make_days, requests, failed, is_systematic):
    days = make_days(max_shard_requests=7)
    old = {number: f"good {number}" for number in range(500)}
    days.day(old)
    new = {1000 + number: f"{'bad' if number < failed else 'good'} {number}" for number in range(requests)}
    requested, made = days.day(old | new)
    assert (len(requested), is_green(made), is_green(made, 0.5)) == (requests, not is_systematic, not is_systematic)
    # Who allows more allows it of these as well.
    assert is_green(made, 0.55)
    if is_systematic:
        with pytest.raises(FailedRowsError, match=r"11 of 20 requests .*Over half.* of all 520 rows"):
            check_failed_ratio(made, 0.05)
    assert len(days.day(old | new)[0]) == (failed if is_systematic else 0)


def test_of_very_many_shards_some_tell_whether_a_run_fails_systematically(make_days, monkeypatch):
    monkeypatch.setattr("greennode_batch.write.final_outcomes._READ_SHARDS", 4)
    days = make_days(max_shard_requests=1)
    for word, final in (("bad", None), ("good", "x")):
        rows = {number: f"{word} {number}" for number in range(30)} | {30: "refused"}
        job, run, plan = days.build(rows, word, retry_final=True)
        days.carry(job, run, plan, {})
        final_outcomes = FinalOutcomes(run, plan)
        refused = pa.table({"status": ["refused"], "error": ["no"], "custom_id": ["c"]})
        assert final_outcomes.of_results(refused, attempt=1, model_hash="x").to_pylist() == [final]


def test_a_run_that_is_built_again_answers_for_its_own_failures(make_days):
    days = make_days()
    rows = {1: "good", 2: "", 3: "refused"}
    for run_id, more in (("one", {}), ("two", {4: ""})):
        job, run, plan = days.build(rows | more, run_id)
        first = days.finish(job, run, plan)
        job, run, again = days.build(rows | more, run_id)
        assert (asked_in(run, again), again.remembered) == (asked_in(run, plan), plan.remembered)
        made = days.finish(job, run, again)
        assert made.statuses == first.statuses
    # Without its staging it has only the table, and the note, to go by.
    shutil.rmtree(str(run.path))
    job, run, again = days.build(rows | {4: ""}, "two")
    made = days.finish(job, run, again)
    assert (made.answers_for, made.unchanged, set(days.held())) == (4, 1, {1, 2, 3, 4})


def test_a_table_that_lacks_the_column_remembers_what_its_words_tell(make_days):
    days = make_days()
    days.connection.execute(
        "CREATE TABLE answers (id bigint PRIMARY KEY, answer text, status text NOT NULL, error text, finish_reason "
        "text, reasoning text, prompt_tokens bigint, completion_tokens bigint, completed_at text, model text, "
        "batch_id text, custom_id text, run_id text NOT NULL)"
    )
    days.connection.commit()
    rows = dict(enumerate(("good", "refused", "cut", "bad", "", "misfit", "broke", "late")))
    assert days.day(rows)[0] == list(rows)
    for _ in range(2):
        requested, made = days.day(rows)
        assert (requested, made.remembered) == ([5, 6, 7], {"refused": 1, "truncated": 1, "failed": 1, "unsent": 1})
    assert days.day(rows, retry_final=True)[0] == [1, 2, 3, 4, 5, 6, 7]


def test_good_answers_stay_where_all_rows_are_asked_again_and_the_batch_expires(make_days):
    days = make_days()
    rows = {1: "good", 2: "good too", 3: "refused"}
    days.day(rows)
    before = days.held()
    requested, made = days.day(rows, dict.fromkeys(rows.values(), "late"), refresh="all")
    assert (requested, made.statuses, made.kept_answers, is_green(made)) == ([1, 2, 3], {"expired": 3}, 2, False)
    assert "2 rows without an answer keep the good answer of an earlier run" in str(made)
    assert days.held() == before | {3: ("expired", None)}
    # Joined and accounted for again it is the same.
    run = run_folder(days.root, "dag", "day 2")
    again = days.finish(dataclasses.replace(days.job, refresh="all"), run, read_plan(run))
    assert (again.kept_answers, days.held()) == (2, before | {3: ("expired", None)})
    for wanted in ([3], []):
        assert days.day(rows)[0] == wanted


def test_a_whole_refresh_that_expires_half_done_loses_and_pays_nothing_twice(make_days, emulator, client, ended):
    days = make_days(attempts=1)

    def carry(job, run, plan, today):
        for shard in attempt_shards(run, plan, 1):
            ended(shard)
            collect_shard(shard, client, None)

    days.carry = carry
    rows = {number: f"text {number}" for number in range(8)}
    days.day(rows)
    before = days.held()
    emulator.faults([{"kind": "expired"}])
    _, made = days.day(rows, refresh="all")
    assert made.statuses == {"succeeded": 4, "expired": 4}
    assert (made.kept_answers, made.balanced, is_green(made)) == (4, True, False)
    assert days.held() == before
    # Half are the refresh's, half those of before; cleared and joined again it stays so.
    runs = "SELECT run_id, count(*) FROM answers WHERE answer IS NOT NULL GROUP BY run_id ORDER BY run_id"
    assert days.connection.execute(runs).fetchall() == [("day 1", 4), ("day 2", 4)]
    days.connection.commit()
    run = run_folder(days.root, "dag", "day 2")
    days.join(run, read_plan(run))
    assert days.connection.execute(runs).fetchall() == [("day 1", 4), ("day 2", 4)]
    days.connection.commit()
    billed = emulator.ledger()["requests_billed"]
    for _ in range(2):
        assert days.day(rows)[0] == []
    assert emulator.ledger()["requests_billed"] == billed


def test_a_changed_row_that_expires_keeps_its_old_answer_until_the_new_one_is_there(make_days, caplog):
    caplog.set_level(logging.INFO)
    days = make_days()
    rows = {1: "good", 2: "good too"}
    days.day(rows)
    changed = rows | {2: "late"}
    for count in (1, 2):
        changed[2 + count] = f"good {count}"
        caplog.clear()
        requested, made = days.day(changed)
        assert (requested, made.kept_answers, made.unchanged) == ([2, 2 + count], 1, count)
        assert days.held()[2] == ("succeeded", None)
        # What the database can note of the others it notes all the same.
        assert ("Wrote the answer cache of table" in caplog.text) is days.table.dialect.makes_digests
    requested, made = days.day(changed, {"late": "good"})
    assert (requested, made.kept_answers) == ([2], 0)
    assert days.day(changed)[0] == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_each_day_asks_whom_a_model_of_a_few_lines_would_and_is_judged_as_it_says(make_days, tmp_path_factory, data):
    days = make_days(root=tmp_path_factory.mktemp("staging"), attempts=1)
    days.connection.execute("DROP TABLE IF EXISTS answers")
    days.connection.commit()
    words = st.sampled_from(["good", "good", *OUTCOMES, ""])
    # Of each id: its text, and of its last request the text and what became of it.
    source, table = {}, {}
    for _ in range(data.draw(st.integers(2, 4))):
        source |= data.draw(st.dictionaries(st.integers(0, 5), words.map(lambda word: f"{word} x" if word else "")))
        source = {number: f"{text[:-1]}{number}" if text else "" for number, text in source.items()}
        today = {text: data.draw(words.filter(bool)) for text in source.values() if text and data.draw(st.booleans())}
        retry_final = data.draw(st.booleans())
        came_of = {number: today.get(text, text.partition(" ")[0]) for number, text in source.items()}

        def is_settled(number, text):
            requested, word = table.get(number, (None, None))
            return requested == text and (word == "good" or (word in FINAL and not retry_final))  # noqa: B023

        wanted = sorted(number for number, text in source.items() if not is_settled(number, text))
        requested, made = days.day(source, today, retry_final=retry_final)
        assert requested == wanted
        failed = [number for number in wanted if came_of[number] != "good"]
        assert made.answers_for == len(source)
        assert is_green(made, 0.3) == (len(failed) <= 0.3 * len(source))
        for number in wanted:
            text, word = source[number], came_of[number]
            before = table.get(number, (None, None))
            if not (before[1] == "good" and word != "good" and (before[0] == text or word not in FINAL)):
                table[number] = (text, word)
        status = {number: OUTCOMES[word][0] if word else "unsent" for number, (_, word) in table.items()}
        assert {number: row[0] for number, row in days.held().items()} == status if table else True
