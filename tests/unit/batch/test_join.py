import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.errors import ConfigError
from greennode_batch.job import RESULT_COLUMNS
from greennode_batch.join.join import join_shard, join_tables

ANSWER = (pa.field("answer", pa.string()),)
RESULTS = pa.schema([*RESULT_FIELDS, *ANSWER])
SOURCE = pa.schema([("id", pa.int64()), ("model", pa.string()), ("custom_id", pa.string()), ("unsent", pa.string())])


def source_of(asked):
    rows = [
        {"id": n, "model": "m", "custom_id": one, "unsent": None if one else "too long"} for n, one in enumerate(asked)
    ]
    return pa.Table.from_pylist(rows, SOURCE)


def results_of(answers):
    rows = [
        {"custom_id": one, "status": "succeeded", "answer": text, "prompt_tokens": 1, "batch_id": f"batch of {one}"}
        for one, text in answers.items()
    ]
    return pa.Table.from_pylist(rows, RESULTS)


def join(source, results):
    return join_tables(source, results, run_id="run_1", answer_fields=ANSWER)


ids = st.sampled_from("abcdef")


@given(asked=st.lists(ids | st.none()), answers=st.dictionaries(ids, st.text(max_size=3)), data=st.data())
def test_the_join_is_what_a_plain_loop_over_rows_says(asked, answers, data):
    shuffled = dict(data.draw(st.permutations(list(answers.items()))))
    joined = join(source_of(asked), results_of(shuffled)).to_pylist()
    wanted = []
    for number, custom_id in enumerate(asked):
        if custom_id is None:
            outcome = ("unsent", "too long", None, None, None)
        elif custom_id in answers:
            outcome = ("succeeded", None, answers[custom_id], 1, f"batch of {custom_id}")
        else:
            outcome = ("missing", "no result names this request", None, None, None)
        wanted.append((number, custom_id, *outcome, "m", "run_1"))
    names = ["id", "custom_id", "status", "error", "answer", "prompt_tokens", "batch_id", "model", "run_id"]
    assert [tuple(row[name] for name in names) for row in joined] == wanted


def test_the_columns_stand_in_the_order_of_the_target():
    assert join(source_of(["a"]), results_of({})).column_names == ["id", "answer", *RESULT_COLUMNS]


def test_a_shard_that_was_not_collected_is_named(make_shard):
    shard = make_shard()
    with pytest.raises(ConfigError, match=f"{shard.shard_id}: its results were not collected yet"):
        join_shard(shard, run_id="r", answer_fields=ANSWER)


def test_a_shard_of_unsent_rows_alone_is_joined_without_a_batch(make_run):
    run, plan = make_run(("id", "text"), [(1, ""), (2, "")])
    joined = join_shard(run.shard(plan.shards[0].shard_id), run_id="r", answer_fields=ANSWER)
    assert joined["status"].to_pylist() == ["unsent", "unsent"]
    assert joined["batch_id"].null_count == 2


def test_results_in_many_chunks_are_joined(make_shard, tmp_path):
    source = source_of([f"id{n % 9_000}" for n in range(12_000)])
    path = tmp_path / "results.parquet"
    pq.write_table(results_of({f"id{n}": str(n) for n in range(9_000)}), path, row_group_size=1_000)
    joined = join(source, pq.read_table(path))
    assert joined["answer"].to_pylist() == [str(n % 9_000) for n in range(12_000)]
