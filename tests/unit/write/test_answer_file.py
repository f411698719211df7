"""One Parquet file that several runs write: it has every row once, and lands whole."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.write.answer_file import AnswerFile

KEY = pa.schema([("id", pa.int64())])
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
GOOD, BAD = "succeeded", "failed"


def rows_of(number, given, **more):
    count = len(given)
    return pa.table(
        {
            "id": pa.array(list(given), pa.int64()),
            "answer": [f"{number}"] * count,
            "status": [status for _, status in given.values()],
            "custom_id": [custom_id for custom_id, _ in given.values()],
            "run_id": [f"run {number}"] * count,
            "completed_at": pa.array([DAY] * count, pa.timestamp("us", tz="UTC")),
            "greennode_job": ["job"] * count,
            "greennode_order": [f"{number}"] * count,
            "greennode_final": pa.nulls(count, pa.string()),
            **more,
        }
    )


@pytest.fixture
def out(tmp_path):
    return AnswerFile(tmp_path / "answers.parquet")


@pytest.fixture
def merge(out, tmp_path):
    def written(number, given, **more):
        made = tmp_path / ".made"
        pq.write_table(rows_of(number, given, **more), made)
        out.merge(made, KEY, run_id=f"run {number}")
        assert [path.name for path in tmp_path.iterdir()] == ["answers.parquet"]
        return [(row["id"], row["answer"]) for row in pq.read_table(out.path).to_pylist()]

    return written


def test_rows_replace_older_ones_and_the_others_stay(merge):
    assert merge(1, {1: ("a", GOOD), 2: ("a", GOOD), 3: ("a", BAD)}) == [(1, "1"), (2, "1"), (3, "1")]
    assert merge(2, {2: ("b", GOOD), 3: ("a", GOOD), 4: ("a", BAD)}) == [(1, "1"), (2, "2"), (3, "2"), (4, "2")]


def test_a_failure_does_not_replace_a_good_answer(merge):
    merge(1, {1: ("a", GOOD)})
    assert merge(2, {1: ("a", BAD), 2: ("a", GOOD)}) == [(1, "1"), (2, "2")]


def test_merged_again_it_is_the_same_and_an_older_run_changes_nothing(merge):
    merge(1, {1: ("a", GOOD), 2: ("a", GOOD)})
    merged = merge(2, {1: ("b", GOOD)})
    assert merge(2, {1: ("b", GOOD)}) == merged == [(2, "1"), (1, "2")]
    assert sorted(merge(1, {1: ("a", GOOD), 2: ("a", GOOD)})) == sorted(merged)


def test_a_column_that_the_file_lacks_is_null_in_its_rows(merge, out):
    merge(1, {1: ("a", GOOD)})
    merge(2, {2: ("a", GOOD)}, score=[0.5])
    assert pq.read_table(out.path)["score"].to_pylist() == [None, 0.5]


def test_columns_of_another_type_are_refused_before_anything_is_sent(merge, out):
    merge(1, {1: ("a", GOOD)}, score=["high"])
    with pytest.raises(ConfigError, match=r"cannot hold the rows of this run .* Nothing was sent"):
        out.check(rows_of(2, {2: ("a", GOOD)}, score=[0.5]).schema, ["id"])


@pytest.mark.parametrize("content", [b"", b"no Parquet", None])
def test_a_file_that_holds_no_answers_is_replaced(merge, out, content):
    if content is None:
        pq.write_table(pa.table({"other": [1]}), out.path)
    else:
        out.path.write_bytes(content)
    out.check(rows_of(1, {1: ("a", GOOD)}).schema, ["id"])
    assert merge(1, {1: ("a", GOOD)}) == [(1, "1")]


def test_killed_before_it_lands_the_file_is_as_it_was(merge, out, tmp_path, monkeypatch):
    before = merge(1, {1: ("a", GOOD)})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(AnswerFile, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        merge(2, {1: ("b", GOOD)})
    monkeypatch.undo()
    assert [(row["id"], row["answer"]) for row in pq.read_table(out.path).to_pylist()] == before
