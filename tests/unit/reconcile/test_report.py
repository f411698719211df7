import datetime
import json
import re
import shutil
import sqlite3
from contextlib import closing

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import AccountingError, ConfigError, FailedRowsError
from greennode_batch.plan.build import build
from greennode_batch.reconcile.report import check_balanced, check_failed_ratio, report
from greennode_batch.reconcile.written import TableRows
from greennode_batch.reconcile.written_files import FileRows
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder, read_json, run_folder, write_json
from greennode_batch.state.attempts import RetryPlan, attempt_shards
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import read_receipt, write_receipt
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.run_identity import RemovedRun
from greennode_batch.state.run_report import RunReport
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.answer_file import AnswerFile
from greennode_batch.write.join import join_shard
from greennode_batch.write.joined_rows import CountedRows, note_joined

ROWS = [(1, "a"), (2, "b"), (3, "a"), (4, "")]
FIELDS = AnswerReader(None).fields


@pytest.fixture
def execute(database):
    """Runs a statement on the target's database, as somebody else."""

    def run(statement):
        with psycopg.connect(database) as connection:
            return connection.execute(statement).rowcount

    return run


@pytest.fixture
def target(database):
    with psycopg.connect(database) as connection:
        yield sql_table(connection, "answers", ("id",))


@pytest.fixture
def carry(ended, client):
    """Takes an attempt's shards to their results."""

    def run(run, plan, attempt=1):
        for shard in attempt_shards(run, plan, attempt):
            ended(shard)
            collect_shard(shard, client, None)

    return run


@pytest.fixture
def ask_again(make_job, carry):
    def run(run, plan, attempt=2):
        build_retry(make_job(), run, plan, attempt=attempt, profile=ApiProfile())
        carry(run, plan, attempt)

    return run


def join(run, plan, table):
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        with join_shard(shard, owner=plan.owner, answer_fields=FIELDS) as joined:
            table.prepare(joined.schema)
            rows = CountedRows(joined, table.key)
            table.write(rows)
        note_joined(shard, rows)


@pytest.fixture
def joined(make_run, carry, target):
    """A run of two shards, joined into PostgreSQL."""
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=1)
    carry(run, plan)
    join(run, plan, target)
    return run, plan


@pytest.fixture
def account(joined, target):
    """The report of that run, as it is now."""
    run, plan = joined
    return lambda: report(run, TableRows(target, plan.run_id))


def problem_of(made):
    """The one thing that does not add up; it is also in report.json, and an error."""
    (problem,) = made.problems
    assert not made.balanced
    with pytest.raises(AccountingError, match="run run_1 does not add up: ") as error:
        check_balanced(made)
    assert problem in str(error.value)
    return problem


def drop_results(shard, custom_id):
    results = pq.read_table(shard.results)
    pq.write_table(results.filter(pc.not_equal(results["custom_id"], custom_id)), str(shard.results))


def ids_of(shard):
    return pq.read_table(shard.results)["custom_id"].to_pylist()


def test_source_shards_results_and_target_agree(joined, account, emulator):
    run, _ = joined
    made = account()
    check_balanced(made)
    assert (made.rows, made.requests, made.shards, made.succeeded) == (4, 2, 2, 3)
    assert made.statuses == {"succeeded": 3, "unsent": 1}
    assert read_json(run.report, RunReport) == made
    # A request that two rows share is paid once, and counted once.
    ledger = emulator.ledger()
    assert (made.prompt_tokens, made.completion_tokens) == (ledger["prompt_tokens"], ledger["completion_tokens"])
    assert str(made).startswith(
        f"4 rows (3 succeeded, 1 unsent) from 2 requests in 2 shards; {made.prompt_tokens} prompt and "
        f"{made.completion_tokens} completion tokens\nHash of the prompt: {read_plan(run).prompt_hash}\n"
    )


def test_a_row_that_is_gone_from_the_target_is_named_by_its_key(account, execute, joined):
    run, _ = joined
    execute("DELETE FROM answers WHERE id = 3")
    assert problem_of(account()) == (
        f"rows that are not in the target (1): 3. The answers are safe in {run}; clear join_results to write "
        "them again, at no cost; if another job, or a run whose staging is gone, removed them by "
        'orphaned_rows="remove", leave them'
    )
    written = json.loads(run.report.read_bytes())
    assert (written["balanced"], len(written["problems"])) == (False, 1)


@pytest.mark.parametrize("change", ["DROP TABLE answers", "DELETE FROM answers"])
def test_a_target_that_is_gone_has_lost_every_row(account, execute, change):
    execute(change)
    assert problem_of(account()).startswith("rows that are not in the target (4): ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("status = 'failed' WHERE id = 2", r"2 \(status failed instead of succeeded\)"),
        ("custom_id = NULL WHERE id = 2", r"2 \(custom_id NULL instead of [0-9a-f]{32}\)"),
        ("custom_id = 'x' WHERE id = 4", r"4 \(custom_id x instead of NULL\)"),
    ],
)
def test_a_row_that_was_changed_in_the_target_is_named_with_what_was_changed(account, execute, change, words):
    assert execute(f"UPDATE answers SET {change}") == 1
    assert re.match(
        rf"rows that are in the target with another status or custom_id \(1\): {words}\. ", problem_of(account())
    )


def test_statuses_that_two_rows_have_swapped_are_noticed(make_run, carry, target, execute, emulator):
    emulator.faults([{"kind": "line_error", "status": 400, "count": 1}])
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b")])
    carry(run, plan)
    join(run, plan, target)
    execute("UPDATE answers SET status = CASE status WHEN 'failed' THEN 'succeeded' ELSE 'failed' END")
    assert "status succeeded instead of failed" in problem_of(report(run, TableRows(target, "run_1")))


def test_a_row_in_the_target_that_no_source_row_asked_for_is_named(account, execute):
    execute("INSERT INTO answers (id, status, run_id) VALUES (77, 'succeeded', 'run_1')")
    assert problem_of(account()).startswith(
        "answered rows that are in the target under run run_1 but not in its source (1): 77. An"
    )


def test_a_row_lost_and_another_added_do_not_make_up_for_each_other(account, execute):
    execute("UPDATE answers SET id = 33 WHERE id = 3")
    lost, added = account().problems
    assert lost.startswith("rows that are not in the target (1): 3.")
    assert added.endswith(
        "but not in its source (1): 33. An earlier build of this run or somebody else wrote them; they may have been "
        "paid for, so keep them"
    )


def test_many_lost_rows_are_counted_and_twenty_are_named(make_run, carry, target, execute):
    run, plan = make_run(("id", "text"), [(n, f"row {n % 7}") for n in range(100)])
    carry(run, plan)
    join(run, plan, target)
    execute("DELETE FROM answers")
    assert problem_of(report(run, TableRows(target, "run_1"))).startswith(
        f"rows that are not in the target (100): {', '.join(map(str, range(20)))} and 80 more. The"
    )


def test_rows_that_a_later_run_has_written_over_are_no_error_and_are_counted(account, execute, joined, caplog):
    run, plan = joined
    execute("UPDATE answers SET run_id = 'run_2', status = 'failed' WHERE id < 3")
    later = RunFolder(run.path.parent / "run_2")
    write_json(later.plan, msgspec.structs.replace(plan, run_id="run_2", created_at=plan.created_at + 1))
    made = account()
    check_balanced(made)
    assert made.superseded == 2
    assert str(made).endswith("\n2 rows were overwritten or removed by a later run")
    assert "2 rows were overwritten by the later run run_2" in caplog.text


def test_rows_of_an_earlier_run_in_the_place_of_these_are_lost_rows(account, execute, joined):
    run, plan = joined
    execute("UPDATE answers SET run_id = 'run_0' WHERE id < 3")
    earlier = RunFolder(run.path.parent / "run_0")
    write_json(earlier.plan, msgspec.structs.replace(plan, run_id="run_0", created_at=plan.created_at - 1))
    made = account()
    assert problem_of(made).startswith(
        "rows of the target that still have what the earlier run run_0 wrote (2): 1, 2. This run has not "
        "joined them here"
    )
    assert made.superseded == 0


def test_a_row_under_no_run_is_nobodys(account, execute):
    execute("ALTER TABLE answers ALTER run_id DROP NOT NULL")
    execute("UPDATE answers SET run_id = NULL WHERE id = 1")
    assert "1 (run_id is NULL)" in problem_of(account())


def test_what_the_table_shows_in_its_own_way_is_not_lost(make_run, carry, database, execute):
    execute(
        "CREATE TABLE answers (code char(9) PRIMARY KEY, answer text, status text, error text, finish_reason text, "
        "reasoning text, model text, prompt_tokens int, completion_tokens int, custom_id text, batch_id text, "
        "run_id text, completed_at timestamptz)"
    )
    run, plan = make_run(("code", "text"), [("a", "one"), ("b", "two")], key="code")
    carry(run, plan)
    with psycopg.connect(database) as connection:
        table = sql_table(connection, "answers", ("code",))
        join(run, plan, table)
        check_balanced(report(run, TableRows(table, "run_1")))
        execute("UPDATE answers SET status = 'failed' WHERE code = 'b'")
        assert "b (status failed instead of succeeded)" in problem_of(report(run, TableRows(table, "run_1")))


ALIKE = [("k\x00", "one"), ("k\ufffd", "two")]


def test_two_rows_whose_keys_are_one_to_the_target_are_named(make_run, carry, database):
    # U+0000 becomes U+FFFD in PostgreSQL: the row of the second shard is written over that of the first.
    run, plan = make_run(("code", "text"), ALIKE, key="code", max_shard_requests=1)
    carry(run, plan)
    with psycopg.connect(database) as connection:
        table = sql_table(connection, "answers", ("code",))
        join(run, plan, table)
        changed, shared = report(run, TableRows(table, "run_1")).problems
    assert changed.startswith("rows that are in the target with another status or custom_id (1): k\x00 (custom_id ")
    assert shared.startswith(
        "rows of the target that stand for several source rows each, because the target treats their "
    )
    assert "keys as equal (1): k\ufffd. Give" in shared


def test_rows_that_only_look_alike_here_are_told_apart_in_the_target(make_run, carry):
    run, plan = make_run(("code", "text"), [(key, "") for key, _ in ALIKE], key="code")
    carry(run, plan)
    with closing(sqlite3.connect(":memory:")) as connection:
        table = sql_table(connection, "answers", ("code",))
        join(run, plan, table)
        connection.execute("UPDATE answers SET run_id = 'run_2' WHERE code = 'k\ufffd'")
        connection.commit()
        made = report(run, TableRows(table, "run_1"))
        check_balanced(made)
        assert made.superseded == 1
        connection.execute("DELETE FROM answers WHERE code = 'k\ufffd'")
        connection.commit()
        assert problem_of(report(run, TableRows(table, "run_1"))).startswith(
            "rows that are not in the target (1): k\ufffd."
        )


def test_a_key_of_several_columns_and_models_is_named_whole(make_run, carry, database, execute):
    day = datetime.date(2024, 2, 29)
    rows = [(1, day, "one"), (1, day + datetime.timedelta(1), "two")]
    models = ("google/gemma-4-31b-it", "minimax/minimax-m2.5")
    run, plan = make_run(("id", "day", "text"), rows, key=("id", "day"), model=models)
    carry(run, plan)
    with psycopg.connect(database) as connection:
        table = sql_table(connection, "answers", ("id", "day", "model"))
        join(run, plan, table)
        check_balanced(report(run, TableRows(table, "run_1")))
        execute("DELETE FROM answers WHERE day = '2024-02-29' AND model LIKE 'google%'")
        assert problem_of(report(run, TableRows(table, "run_1"))).startswith(
            "rows that are not in the target (1): (1, 2024-02-29, google/gemma-4-31b-it). The"
        )


def test_a_run_of_one_of_several_models_is_reconciled_by_the_key_of_all(make_run, carry, database, execute):
    run, plan = make_run(("id", "text"), ROWS, model=["google/gemma-4-31b-it"])
    carry(run, plan)
    with psycopg.connect(database) as connection:
        table = sql_table(connection, "answers", ("id", "model"))
        join(run, plan, table)
        execute("INSERT INTO answers (id, model, status, run_id) SELECT id, 'other', status, 'run_0' FROM answers")
        check_balanced(report(run, TableRows(table, "run_1")))
        execute("DELETE FROM answers WHERE id = 3 AND model <> 'other'")
        assert "not in the target (1): (3, google/gemma-4-31b-it)" in problem_of(report(run, TableRows(table, "run_1")))


def test_each_sample_of_each_model_is_a_row_that_is_reconciled(make_run, carry, database, execute):
    models = ["google/gemma-4-31b-it", "openai/gpt-oss-120b"]
    run, plan = make_run(("id", "text"), ROWS, model=models, samples=2, max_shard_requests=3)
    carry(run, plan)
    with psycopg.connect(database) as connection:
        table = sql_table(connection, "answers", ("id", "model", "sample"))
        join(run, plan, table)
        made = report(run, TableRows(table, "run_1"))
        check_balanced(made)
        assert (made.rows, made.requests, made.statuses) == (16, 8, {"succeeded": 12, "unsent": 4})
        execute("DELETE FROM answers WHERE id = 3 AND sample = 2 AND model LIKE 'google%'")
        assert problem_of(report(run, TableRows(table, "run_1"))).startswith(
            "rows that are not in the target (1): (3, google/gemma-4-31b-it, 2). The"
        )
        columns = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'answers' "
            "ORDER BY ordinal_position LIMIT 3"
        ).fetchall()
        assert columns == [("id", "bigint"), ("sample", "bigint"), ("answer", "text")]


def test_a_shard_that_is_not_joined_is_named(joined, account):
    run, plan = joined
    run.shard(plan.shards[1].shard_id).joined.unlink()
    assert problem_of(account()).startswith(
        f"1 of 2 shards are not joined yet, so the target was not checked: {plan.shards[1].shard_id}. See"
    )


def test_results_that_changed_after_they_were_joined_are_named_by_their_shard(joined, account):
    run, plan = joined
    shard = run.shard(plan.shards[0].shard_id)
    results = pq.read_table(shard.results)
    index = results.column_names.index("status")
    pq.write_table(results.set_column(index, "status", pa.array(["truncated"])), str(shard.results))
    assert problem_of(account()).startswith(
        f"the results of 1 of 2 shards have changed since they were joined: {shard.shard_id}. Clear"
    )


def test_an_id_that_is_not_in_the_results_is_named(joined, account):
    run, plan = joined
    shard = run.shard(plan.shards[0].shard_id)
    (custom_id,) = ids_of(shard)
    drop_results(shard, custom_id)
    assert problem_of(account()).startswith(
        f"shard {shard.shard_id}, its requests and results.parquet: the latter lacks ids: {custom_id}. Remove its"
    )


def test_an_id_in_the_results_that_was_not_asked_and_one_twice_are_named(joined, account):
    run, plan = joined
    shard = run.shard(plan.shards[0].shard_id)
    results = pq.read_table(shard.results)
    strange = results.set_column(0, "custom_id", pa.array(["strange"]))
    pq.write_table(pa.concat_tables([results, results, strange]), str(shard.results))
    twice, besides = account().problems
    assert f"results.parquet has ids more than once: {ids_of(shard)[0]}." in twice
    assert "the latter has other ids: strange." in besides


def test_a_source_file_that_is_not_the_plans_is_named(joined, account):
    run, plan = joined
    first, second = (run.shard(planned.shard_id) for planned in plan.shards)
    pq.write_table(pq.read_table(first.source).slice(0, 0), str(first.source))
    second.source.unlink()
    problems = "\n".join(account().problems)
    assert f"shard {first.shard_id}: source.parquet has 0 rows, but the plan has 2; restore the file" in problems
    assert f"{first.shard_id}, its rows and requests.jsonl: the latter has other ids: {ids_of(first)[0]}" in problems
    assert f"shard {second.shard_id}: {second.source} is missing, so its rows are unknown; restore the file" in problems


def test_a_target_that_differs_is_noticed_also_while_staging_is_not_in_order(joined, account, execute):
    run, plan = joined
    shard = run.shard(plan.shards[0].shard_id)
    drop_results(shard, *ids_of(shard))
    execute("DELETE FROM answers WHERE id = 2")
    problems = account().problems
    assert problems[-1].startswith("the target's 3 rows differ from the 4 that were joined. Fix the problems above")


def test_shards_that_were_not_sent_or_not_collected_are_named(make_run, ended, client, target):
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=1)
    first, second = (run.shard(planned.shard_id) for planned in plan.shards)
    ended(first)
    made = report(run, TableRows(target, "run_1"))
    unsent, uncollected, not_joined = made.problems
    assert unsent.startswith(f"shards that were never sent: {second.shard_id}. Clear their submit_batch")
    assert uncollected.startswith(f"shards that were sent but are not collected: {first.shard_id}. Clear their wait")
    assert "2 of 2 shards are not joined yet" in not_joined
    assert [(one.attempt, one.shards, one.requests, one.statuses) for one in made.attempts] == [(1, 1, 1, {})]


def test_results_of_another_batch_than_the_receipts_are_not_collected(joined, account):
    run, plan = joined
    shard = run.shard(plan.shards[0].shard_id)
    receipt = msgspec.structs.replace(read_receipt(shard), state="created")
    # Killed between the results and the receipt: nothing is amiss.
    receipt = write_receipt(shard, receipt)
    check_balanced(account())
    write_receipt(shard, msgspec.structs.replace(receipt, batch_id="batch_another"))
    assert f"are not collected: {shard.shard_id}." in problem_of(account())


@pytest.fixture
def twice_asked(make_run, carry, ask_again, emulator):
    """A run whose first attempt leaves two of three requests without an answer."""
    emulator.faults([{"kind": "line_error", "status": 500, "count": 2, "batches": 1}])
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b"), (3, "c")])
    carry(run, plan)
    ask_again(run, plan)
    return run, plan


def test_each_attempt_is_told_with_what_it_has_cost(twice_asked, target, emulator):
    run, plan = twice_asked
    join(run, plan, target)
    made = report(run, TableRows(target, "run_1"))
    check_balanced(made)
    assert [(one.attempt, one.shards, one.requests, one.statuses) for one in made.attempts] == [
        (1, 1, 3, {"failed": 2, "succeeded": 1}),
        (2, 1, 2, {"succeeded": 2}),
    ]
    ledger = emulator.ledger()
    assert ledger["requests_billed"] == 3
    assert (made.prompt_tokens, made.completion_tokens) == (ledger["prompt_tokens"], ledger["completion_tokens"])
    assert sum(one.prompt_tokens for one in made.attempts) == made.prompt_tokens
    assert "\n2 requests were sent again in attempt 2: 2 succeeded" in str(made)


def test_a_shard_of_a_second_attempt_that_no_plan_lists_is_named_and_the_way_out_keeps_it(
    twice_asked, ask_again, target, emulator
):
    run, plan = twice_asked
    (again,) = attempt_shards(run, plan, 2)
    # What a late build of the version before has left: it wrote over the plan of another one, which was sent.
    write_json(run.retry(2), RetryPlan(2, 0.0, ()))
    join(run, plan, target)
    made = report(run, TableRows(target, "run_1"))
    batch = read_receipt(again).batch_id
    assert made.problems[0].startswith(
        f"shards of attempt 2 that were sent but are in no plan: {again.shard_id} ({batch}). Clear build_retry_2"
    )
    billed = emulator.ledger()["requests_billed"]
    ask_again(run, plan)
    join(run, plan, target)
    check_balanced(report(run, TableRows(target, "run_1")))
    assert emulator.ledger()["requests_billed"] == billed


def test_a_shard_of_the_first_attempt_that_no_plan_lists_is_named(joined, account):
    run, plan = joined
    lost = plan.shards[-1]
    rest = msgspec.structs.replace(plan, shards=plan.shards[:-1], rows=plan.rows - lost.rows)
    write_json(run.plan, rest)
    unplanned = next(one for one in account().problems if "are in no plan" in one)
    assert lost.shard_id in unplanned
    assert f"Clear build_requests, or remove {run.plan} and run the command again" in unplanned


def test_a_second_attempt_that_is_not_collected_is_named(twice_asked, target):
    run, plan = twice_asked
    join(run, plan, target)
    (again,) = attempt_shards(run, plan, 2)
    again.results.unlink()
    made = report(run, TableRows(target, "run_1"))
    assert problem_of(made).startswith(
        f"shards that were sent but are not collected: {again.shard_id} (attempt 2). Clear their wait_for_batch"
    )


def test_a_second_attempt_that_was_built_and_never_sent_is_no_attempt(make_run, make_job, carry, target, emulator):
    emulator.faults([{"kind": "line_error", "status": 500, "count": 1}])
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b")])
    carry(run, plan)
    build_retry(make_job(), run, plan, attempt=2, profile=ApiProfile())
    join(run, plan, target)
    made = report(run, TableRows(target, "run_1"))
    check_balanced(made)
    assert [one.attempt for one in made.attempts] == [1]


def test_answers_of_a_second_attempt_that_were_not_joined_are_noticed(make_run, make_job, carry, target, emulator):
    emulator.faults([{"kind": "line_error", "status": 500, "count": 1, "batches": 1}])
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b")])
    carry(run, plan)
    join(run, plan, target)
    build_retry(make_job(), run, plan, attempt=2, profile=ApiProfile())
    carry(run, plan, 2)
    assert "have changed since they were joined" in problem_of(report(run, TableRows(target, "run_1")))


def test_an_id_that_a_second_attempt_asked_of_its_own_accord_is_named(twice_asked, target):
    run, plan = twice_asked
    (again,) = attempt_shards(run, plan, 2)
    results = pq.read_table(again.results)
    pq.write_table(
        pa.concat_tables([results, results.slice(0, 1).set_column(0, "custom_id", pa.array(["strange"]))]),
        str(again.results),
    )
    join(run, plan, target)
    problems = report(run, TableRows(target, "run_1")).problems
    assert any("its results have ids that attempt 1 did not send: strange." in words for words in problems)


def test_an_answered_request_that_was_asked_again_is_told_in_the_log(twice_asked, target, caplog):
    run, plan = twice_asked
    shard = run.shard(plan.shards[0].shard_id)
    results = pq.read_table(shard.results)
    index = results.column_names.index("ask_again")
    pq.write_table(results.set_column(index, "ask_again", pa.array([False] * 3)), str(shard.results))
    join(run, plan, target)
    # So it is after another answer model has read the first attempt again: every row has its answer all the same.
    check_balanced(report(run, TableRows(target, "run_1")))
    assert "sent requests again whose earlier outcome is no longer retryable: " in caplog.text


def test_anomalies_are_counted_by_kind_and_shown_with_their_file(make_run, carry, target, emulator):
    emulator.faults([{"kind": "unknown_id", "count": 2, "batches": 1}, {"kind": "duplicate", "count": 1, "batches": 1}])
    run, plan = make_run(("id", "text"), [(n, f"row {n}") for n in range(5)])
    carry(run, plan)
    join(run, plan, target)
    made = report(run, TableRows(target, "run_1"))
    check_balanced(made)
    assert made.anomalies == {"unknown custom_id": 2, "second line for a custom_id": 1}
    shown = run.shard(plan.shards[0].shard_id).anomalies
    assert len(shown.read_text().splitlines()) == 3
    assert (
        "\n3 lines of the result files settled no request (2 unknown custom_id, 1 second line for a custom_id); see "
        f"{shown}" in str(made)
    )


def test_batches_that_were_refused_or_given_up_are_counted(joined, account):
    run, plan = joined
    first, second = (run.shard(planned.shard_id) for planned in plan.shards)
    write_receipt(
        first, msgspec.structs.replace(read_receipt(first), over_capacity=("batch_x", "batch_y"), repeated=("batch_z",))
    )
    write_receipt(second, msgspec.structs.replace(read_receipt(second), lost="forgotten"))
    made = account()
    assert (made.over_capacity, made.repeated, made.lost) == (2, 1, {"forgotten": 1})
    assert (
        "\n2 batches were refused because the server had no capacity, and sent again at no cost"
        "\n1 more batch was created of the run's files, by a gateway or late, and cancelled; what was answered before "
        "that may have been billed as well"
        "\n1 batch was given up (1 forgotten) and "
        "may have been billed nevertheless" in str(made)
    )


def test_a_file_is_reconciled_as_a_table_is(make_run, carry, tmp_path):
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=1)
    carry(run, plan)
    out = tmp_path / "out.parquet"
    parts = []
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        with join_shard(shard, owner=RowOwner("run_1"), answer_fields=FIELDS) as joined:
            parts += (rows := CountedRows(joined, ("id",)))
        note_joined(shard, rows)
    rows = pa.concat_tables(parts)
    pq.write_table(rows, out)
    check_balanced(report(run, FileRows(AnswerFile(out))))
    pq.write_table(rows.filter(pc.not_equal(rows["id"], 2)), out)
    assert problem_of(report(run, FileRows(AnswerFile(out)))).startswith("rows that are not in the target (1): 2.")
    index = rows.column_names.index("status")
    pq.write_table(rows.set_column(index, "status", pa.array(["failed", *rows["status"].to_pylist()[1:]])), out)
    assert "1 (status failed instead of succeeded)" in problem_of(report(run, FileRows(AnswerFile(out))))
    pq.write_table(pa.concat_tables([rows, rows.slice(0, 1)]), out)
    assert problem_of(report(run, FileRows(AnswerFile(out)))).startswith(
        "rows that are in the target more than once (2): 1, 1."
    )
    out.unlink()
    assert problem_of(report(run, FileRows(AnswerFile(out)))).startswith("rows that are not in the target (4): ")


def test_a_run_that_was_never_built_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no plan, so nothing was built and nothing was sent"):
        report(run_folder(tmp_path, "dag", "run"), FileRows(AnswerFile(tmp_path / "out.parquet")))


@pytest.mark.parametrize("removed", [False, True])
def test_a_run_whose_staging_is_gone_says_that_what_it_wrote_is_good(joined, account, removed):
    run, _ = joined
    shutil.rmtree(run.path)
    if removed:
        write_json(run.removed, RemovedRun(removed_at=86_400.0))
    gone = r"was removed on 1970-01-02" if removed else "is gone"
    with pytest.raises(ConfigError, match=rf"staging {gone}, .*wrote stay: 4 rows in table answers\. You need not"):
        account()


def test_answers_of_a_build_whose_staging_is_gone_are_rows_that_count_as_unchanged(joined, account, execute, caplog):
    run, plan = joined
    execute("INSERT INTO answers (id, status, run_id) VALUES (77, 'succeeded', 'run_1'), (78, 'failed', 'run_1')")
    write_json(run.plan, msgspec.structs.replace(plan, unchanged=1))
    # What has no answer, or more answers than rows that were found unchanged, is still somebody's.
    assert problem_of(account()).startswith(
        "rows that are in the target under run run_1 but not in its source (1): 78."
    )
    assert "1 rows were written by an earlier build of this run" in caplog.text
    execute("UPDATE answers SET status = 'succeeded' WHERE id = 78")
    assert problem_of(account()).startswith("answered rows that are in the target under run run_1 but not in its sour")


@pytest.mark.parametrize("rows", [[], [(5, "")]], ids=["nothing", "another row"])
def test_what_an_earlier_build_wrote_stays_when_its_row_has_left_the_source(
    make_run, make_job, carry, target, execute, rows
):
    run, plan = make_run(("id", "text"), [(3, ""), (4, "")])
    carry(run, plan)
    join(run, plan, target)
    again = build(
        make_job(),
        lambda: Rows.from_tuples(("id", "text"), [rows]),
        run,
        run_id="run_1",
        profile=ApiProfile(),
    )
    join(run, again, target)
    check_balanced(report(run, TableRows(target, "run_1")))
    # It is known by its status too, and no other row is excused.
    execute("UPDATE answers SET status = 'succeeded' WHERE id = 3")
    assert problem_of(report(run, TableRows(target, "run_1"))).startswith("answered rows that are in the target")


def test_an_empty_run_adds_up(make_run, target):
    run, plan = make_run(("id", "text"), [])
    assert read_plan(run) == plan
    made = report(run, TableRows(target, "run_1"))
    check_balanced(made)
    check_failed_ratio(made, 0.0)
    assert made.summary == "0 rows (none) from 0 requests in 0 shards; 0 prompt and 0 completion tokens"


@pytest.mark.parametrize(("ratio", "fails"), [(0.0, True), (0.24, True), (0.25, False), (1.0, False)])
def test_the_share_of_rows_without_an_answer_decides_over_the_run(ratio, fails):
    made = RunReport("job", "run_1", 4, 2, 2, {"succeeded": 3, "unsent": 1}, 0, 0)
    if not fails:
        check_failed_ratio(made, ratio)
        return
    with pytest.raises(
        FailedRowsError, match=r"1 of 4 rows ended without an answer .*3 succeeded, 1 unsent.*All rows are"
    ):
        check_failed_ratio(made, ratio)
