import psycopg
import pytest

from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.batch_files import collect_shard
from greennode_batch.errors import AccountingError, ConfigError, FailedRowsError
from greennode_batch.join.join import join_shard
from greennode_batch.join.target import sql_table
from greennode_batch.report import RunReport, check_failed_ratio, note_joined, report, source_keys
from greennode_batch.staging import read_json, run_folder

ROWS = [(1, "a"), (2, "b"), (3, "a"), (4, "")]


@pytest.fixture
def target(database):
    with psycopg.connect(database) as connection:
        yield sql_table(connection, "answers", ("id",))


@pytest.fixture
def joined(make_run, client, ended, target):
    """A run of two shards, joined into PostgreSQL."""
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=1)
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        ended(shard)
        collect_shard(shard, client, None)
        table = join_shard(shard, run_id="run_1", answer_fields=AnswerReader(None).fields)
        target.prepare(table.schema)
        target.write(table)
        note_joined(shard, table)
    return run, plan


def account(run, plan, target):
    def missing_keys():
        return sorted(str(key) for (key,) in source_keys(run, plan, ("id",)) - target.keys("run_1"))

    return report(run, target_rows=target.count("run_1"), missing_keys=missing_keys)


def test_source_rows_target_rows_and_statuses_add_up(joined, target, emulator):
    run, plan = joined
    made = account(run, plan, target)
    assert (made.rows, made.requests, made.shards, made.succeeded) == (4, 2, 2, 3)
    assert made.statuses == {"succeeded": 3, "unsent": 1}
    assert read_json(run.report, RunReport) == made
    # A request that two rows share is paid once, and counted once.
    ledger = emulator.ledger()
    assert (made.prompt_tokens, made.completion_tokens) == (ledger["prompt_tokens"], ledger["completion_tokens"])


def test_a_row_that_is_gone_from_the_target_is_named_by_its_key(joined, target, database):
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM answers WHERE id = 3")
    with pytest.raises(
        AccountingError, match=r"4 in the source, 4 joined, 3 in the target. Not in the target: 3\. The"
    ):
        account(*joined, target)


def test_many_lost_rows_are_counted_and_some_are_named(joined):
    run, _ = joined
    with pytest.raises(AccountingError, match=r"0, 1, .*, 19 and 80 more\. The answers are safe"):
        report(run, target_rows=0, missing_keys=lambda: [str(n) for n in range(100)])


def test_a_shard_that_is_not_joined_is_named(joined, target):
    run, plan = joined
    run.shard(plan.shards[1].shard_id).joined.unlink()
    with pytest.raises(AccountingError, match=f"1 of 2 shards are not joined yet: {plan.shards[1].shard_id}"):
        account(run, plan, target)


def test_a_run_that_was_never_built_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no plan\.json, so nothing was built and nothing sent"):
        report(run_folder(tmp_path, "dag", "run"), target_rows=0, missing_keys=list)


def test_an_empty_run_adds_up(make_run):
    run, _ = make_run(("id", "text"), [])
    made = report(run, target_rows=0, missing_keys=list)
    check_failed_ratio(made, 0.0)
    assert str(made) == "0 rows (none) from 0 requests in 0 shards; 0 prompt and 0 completion tokens"


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
