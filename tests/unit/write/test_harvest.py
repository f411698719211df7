import sqlite3
import time
from contextlib import closing

import msgspec
import pytest

from greennode_batch.batches.halves import split
from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.state.receipts import Claim, NumberedClaim, read_receipt, take_claim, write_receipt
from greennode_batch.state.split import SplitBegun, parts_of
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.harvest import harvest

ROWS = [(number, f"row {number}") for number in range(1, 5)]


@pytest.fixture
def table(tmp_path):
    with closing(sqlite3.connect(tmp_path / "target.db")) as connection:
        yield sql_table(connection, "answers", ("id",))


@pytest.fixture
def statuses(tmp_path):
    def read():
        with closing(sqlite3.connect(tmp_path / "target.db")) as connection:
            return [one for (one,) in connection.execute("SELECT status FROM answers ORDER BY id")]

    return read


@pytest.fixture
def reap(client, table, make_job, clock):
    def call(run, tables=None):
        return harvest(run, client, make_job(), [table] if tables is None else tables, clock=clock, sleep=clock.sleep)

    return call


def shards_of(run, plan):
    return [run.shard(planned.shard_id) for planned in plan.shards]


def test_what_was_collected_and_not_written_is_written_once(make_run, ended, client, reap, statuses):
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=2)
    first, second = shards_of(run, plan)
    ended(first)
    collect_shard(first, client, None)
    ended(second)
    done = reap(run)
    assert (done.sent, done.cancelled, done.rows, done.failed) == (2, 0, 4, {})
    assert statuses() == ["succeeded"] * 4
    assert reap(run).rows == 0
    assert "had sent 2 shards" in str(done)


def test_the_answers_of_one_half_of_a_shard_are_written_although_the_other_was_never_sent(
    make_run, ended, reap, statuses
):
    run, plan = make_run(("id", "text"), ROWS)
    (shard,) = shards_of(run, plan)
    split(shard, SplitBegun(prompt_tokens=10, limit=6, words="too large"))
    ended(parts_of(shard)[0])
    done = reap(run)
    assert (done.sent, done.failed) == (1, {})
    assert statuses() == ["succeeded", "succeeded", "missing", "missing"]


def test_an_open_batch_is_cancelled_and_what_it_has_answered_is_written(make_run, client, emulator, reap, statuses):
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    run, plan = make_run(("id", "text"), ROWS)
    receipt = submit(*shards_of(run, plan), client)
    while client.get_batch(receipt.batch_id).counts.completed < 2:
        pass
    assert reap(run).cancelled == 1
    assert sorted(statuses()) == ["cancelled", "cancelled", "succeeded", "succeeded"]
    assert emulator.ledger(summary=True)["requests_billed"] == 2


def test_without_a_table_the_answers_are_in_staging(make_run, client, emulator, reap):
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    run, plan = make_run(("id", "text"), ROWS)
    (shard,) = shards_of(run, plan)
    submit(shard, client)
    assert reap(run, []).rows == 0
    assert shard.results.exists()


def test_a_shard_that_fails_is_told_and_the_others_are_written(make_run, ended, client, reap, statuses):
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=1)
    elsewhere, unsure, unsent, good = shards_of(run, plan)
    ended(elsewhere)
    write_receipt(elsewhere, msgspec.structs.replace(read_receipt(elsewhere), server="api.example.com"))
    take_claim(unsure, NumberedClaim(1, Claim("somebody", "file-1", time.time())))
    ended(good)
    done = reap(run)
    assert set(done.failed) == {elsewhere.shard_id, unsure.shard_id}
    assert (done.sent, done.rows, done.is_retryable) == (3, 1, False)
    assert statuses() == ["succeeded"]
    assert not unsent.receipt.exists()


def test_an_outage_is_worth_another_try(make_run, ended, emulator, reap):
    run, plan = make_run(("id", "text"), ROWS)
    ended(*shards_of(run, plan))
    emulator.faults([{"kind": "status", "endpoint": "GET /batches/{id}", "status": 401, "count": 1}])
    assert reap(run).is_retryable
    assert reap(run).rows == 4


def test_a_run_that_was_never_built_has_sent_nothing(make_run, reap):
    run, _ = make_run(("id", "text"), ROWS)
    run.plan.unlink()
    assert reap(run).sent == 0
