import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.cleanup.retention import remove_run
from greennode_batch.collect.results import RESULT_FIELDS
from greennode_batch.errors import ConfigError
from greennode_batch.job.columns import OWNER_COLUMNS, RESULT_COLUMNS
from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.attempts import RetryPlan, RetryShard
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.state.run_identity import note_run
from greennode_batch.write import join as join_module
from greennode_batch.write import result_parts
from greennode_batch.write.join import join_shard, row_statuses

ANSWER = (pa.field("answer", pa.string()),)
RESULTS = pa.schema([*RESULT_FIELDS, *ANSWER])
SOURCE = pa.schema([("id", pa.int64()), ("model", pa.string()), ("custom_id", pa.string()), ("unsent", pa.string())])


def source_of(requested):
    rows = [
        {"id": n, "model": "m", "custom_id": one, "unsent": None if one else "too long"}
        for n, one in enumerate(requested)
    ]
    return pa.Table.from_pylist(rows, SOURCE)


def results_of(answers):
    rows = [
        {"custom_id": one, "status": "succeeded", "answer": text, "prompt_tokens": 1, "batch_id": f"batch of {one}"}
        for one, text in answers.items()
    ]
    return pa.Table.from_pylist(rows, RESULTS)


@pytest.fixture(scope="module")
def join(tmp_path_factory):
    """Joins source rows with results of one attempt after the other: the pieces, and those of `row_statuses`.

    group: the rows of a row group, of which the files of results have three times as many.
    """
    root = tmp_path_factory.mktemp("join")
    count = iter(range(1_000_000))

    def joined(source, *attempts, group=2):
        run = run_folder(root, "job", f"run {next(count)}")
        shard = run.shard("s1")
        write(source, shard.source, group)
        for number, results in enumerate(attempts, start=1):
            write(results, run.shard("s1", attempt=number).results, 3 * group)
            if number > 1:
                again = RetryShard("s1", "m", results.num_rows, 1, ("s1",))
                write_json(run.retry(number), RetryPlan(number, 0.0, (again,)))
        with join_shard(shard, owner=RowOwner("run_1"), answer_fields=ANSWER) as rows:
            pieces = list(rows)
            assert all(piece.schema == rows.schema for piece in pieces)
            assert list(rows) == pieces
        return pieces, list(row_statuses(shard, ["id"]))

    return joined


def write(rows, path, group):
    path = Path(str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, row_group_size=group)


def rows_of(pieces):
    """The rows in the order of their ids: where results do not fit at once, they come in another."""
    return sorted((row for piece in pieces for row in piece.to_pylist()), key=lambda row: row["id"])


def wanted_row(number, custom_id, answers):
    if custom_id is None:
        outcome = ("unsent", "too long", None, None, None)
    elif custom_id in answers:
        outcome = ("succeeded", None, answers[custom_id], 1, f"batch of {custom_id}")
    else:
        outcome = ("missing", "no result names this request", None, None, None)
    return (number, custom_id, *outcome, "m", "run_1")


NAMES = ["id", "custom_id", "status", "error", "answer", "prompt_tokens", "batch_id", "model", "run_id"]
ids = st.sampled_from("abcdef")
some_answers = st.dictionaries(ids, st.text(max_size=3))


@pytest.mark.parametrize("held_bytes", [1 << 20, 1], ids=["results at once", "results in parts"])
@given(requested=st.lists(ids | st.none()), attempts=st.lists(some_answers, min_size=1, max_size=3), data=st.data())
def test_the_join_is_what_a_plain_loop_over_rows_says(join, held_bytes, requested, attempts, data):
    shuffled = [dict(data.draw(st.permutations(list(answers.items())))) for answers in attempts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_parts, "_HELD_BYTES", held_bytes)
        pieces, statuses = join(source_of(requested), *map(results_of, shuffled))
    said = dict(attempts[0])
    for later in attempts[1:]:
        said |= {one: text for one, text in later.items() if one in attempts[0]}
    wanted = [wanted_row(number, one, said) for number, one in enumerate(requested)]
    assert [tuple(row[name] for name in NAMES) for row in rows_of(pieces)] == wanted
    assert [(row["id"], row["custom_id"], row["status"]) for row in rows_of(statuses)] == [row[:3] for row in wanted]


def test_the_columns_stand_in_the_order_of_the_target(join):
    ((piece,), _) = join(source_of(["a"]), results_of({}))
    assert piece.column_names == ["id", "answer", *RESULT_COLUMNS, *OWNER_COLUMNS]


@pytest.mark.parametrize(("keep_reasoning", "expected"), [(False, [None, None]), (True, ["hm", None])])
def test_thinking_is_joined_only_where_it_is_wanted(make_shard, keep_reasoning, expected):
    shard = make_shard("one", "two")
    ids = pq.read_table(str(shard.source))["custom_id"].to_pylist()
    said = [{"custom_id": ids[0], "status": "succeeded", "reasoning": "hm"}, {"custom_id": ids[1], "status": "failed"}]
    write(pa.Table.from_pylist(said, RESULTS), shard.results, 10)
    with join_shard(shard, owner=RowOwner("r"), answer_fields=ANSWER, keep_reasoning=keep_reasoning) as joined:
        (piece,) = joined
        assert piece.schema == joined.schema
    assert piece["reasoning"].to_pylist() == expected


def test_a_shard_that_was_not_collected_is_named(make_shard):
    shard = make_shard()
    with (
        pytest.raises(ConfigError, match=f"{shard.shard_id}: its results are not collected yet"),
        join_shard(shard, owner=RowOwner("r"), answer_fields=ANSWER),
    ):
        pass


def test_a_shard_of_unsent_rows_alone_is_joined_without_a_batch(make_run):
    run, plan = make_run(("id", "text"), [(1, ""), (2, "")])
    with join_shard(run.shard(plan.shards[0].shard_id), owner=RowOwner("r"), answer_fields=ANSWER) as joined:
        (piece,) = joined
    assert piece["status"].to_pylist() == ["unsent", "unsent"]
    assert piece["batch_id"].null_count == 2


def test_rows_come_in_the_order_of_the_source(join):
    requested = [f"id{n % 9_000}" for n in range(12_000)]
    answers = [(f"id{n}", str(n)) for n in range(9_000)]
    random.Random(1).shuffle(answers)
    pieces, _ = join(source_of(requested), results_of(dict(answers)), group=1_000)
    assert [text for piece in pieces for text in piece["answer"].to_pylist()] == [str(n % 9_000) for n in range(12_000)]


@pytest.mark.parametrize("rows", [40_000, 160_000])
def test_a_piece_grows_neither_with_the_rows_that_ask_one_request_nor_with_its_answer(join, monkeypatch, rows):
    monkeypatch.setattr(join_module, "_PIECE_BYTES", 1 << 20)
    source = pa.table(
        [range(rows), pa.repeat("m", rows), pa.repeat("a", rows), pa.nulls(rows, pa.string())], schema=SOURCE
    )
    pieces, statuses = join(source, results_of({"a": "x" * 5_000}), group=10_000)
    assert sum(piece.num_rows for piece in pieces) == rows
    assert max(pc_bytes(piece["answer"]) for piece in pieces) < (1 << 20) + 10_000
    assert max(piece.num_rows for piece in statuses) == 10_000


def pc_bytes(column):
    return sum(map(len, column.to_pylist()))


def test_an_answer_larger_than_a_piece_is_a_piece_by_itself(join, monkeypatch):
    monkeypatch.setattr(join_module, "_PIECE_BYTES", 10)
    pieces, _ = join(source_of(["a", "b", "a"]), results_of({"a": "x" * 100, "b": "y"}), group=10)
    assert [piece["answer"].to_pylist() for piece in pieces] == [["x" * 100], ["y"], ["x" * 100]]


def test_a_run_that_retention_has_removed_says_so_and_what_to_do(make_shard):
    shard = make_shard()
    note_run(shard.run, dag_id="job", run_id="run_1")
    remove_run(shard.run, now=1_750_000_000.0, is_over=lambda: True)
    words = r"staging was removed on 2025-06-15 by retention.*rows in the target are untouched.*trigger a new run"
    with pytest.raises(ConfigError, match=words), join_shard(shard, owner=RowOwner("run_1"), answer_fields=()):
        pass
