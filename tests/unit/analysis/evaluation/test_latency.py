from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from greennode_batch.analysis.evaluation.latency import Waits, answer_waits
from greennode_batch.collect.result_rows import RESULT_FIELDS
from greennode_batch.staging.folders import run_folder
from greennode_batch.staging.parquet import table_writer
from greennode_batch.state.receipts import Receipt, write_receipt

CREATED = 1_790_000_000.0


def settle(shard, *seconds, **statuses):
    """The shard's batch was created at CREATED, and its answers came so many seconds later."""
    write_receipt(shard, Receipt(shard.shard_id, "collected", "file", batch_id="batch", created_at=CREATED))
    times = [None if s is None else datetime.datetime.fromtimestamp(CREATED + s, datetime.UTC) for s in seconds]
    columns = {
        "status": [statuses.get(f"row{index}", "succeeded") for index in range(len(seconds))],
        "completed_at": times,
    }
    schema = pa.schema(RESULT_FIELDS)
    empty = pa.nulls(len(seconds))
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else empty.cast(field.type)
        for field in schema
    ]
    with table_writer(shard.results, schema) as writer:
        writer.write_table(pa.table(arrays, schema=schema))


def test_the_waits_of_a_run_are_told_by_model(make_run):
    run, plan = make_run(("id", "text"), [(n, f"row {n}") for n in range(4)], model=["a", "b"])
    first, second = plan.shards
    settle(run.shard(first.shard_id), 10, 20, 30, 3600)
    settle(run.shard(second.shard_id), 5, None, 7, 900, row3="failed")
    waits = answer_waits(run)
    assert waits[first.model] == Waits(4, 25, pytest.approx(3064.5), 3600)
    # What has no time, and what has no answer, is not counted.
    assert (waits[second.model].answers, waits[second.model].longest) == (2, 7)


def test_an_answer_that_a_clock_puts_before_its_batch_took_no_time(make_shard):
    shard = make_shard()
    settle(shard, -3, 0)
    (waits,) = answer_waits(shard.run).values()
    assert waits == Waits(2, 0, 0, 0)


def test_a_run_that_asked_nothing_or_has_no_results_yet_has_no_waits(tmp_path, make_shard):
    assert answer_waits(run_folder(tmp_path, "dag", "never built")) == {}
    shard = make_shard()
    assert answer_waits(shard.run) == {}
    write_receipt(shard, Receipt(shard.shard_id, "created", "file", batch_id="batch", created_at=CREATED))
    assert answer_waits(shard.run) == {}
