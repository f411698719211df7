"""A CSV or JSON Lines file that several runs write: it has every row once, and lands whole."""

import csv
import datetime
import json
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.write.text_answer_file import TextAnswerFile

KEY = pa.schema([("id", pa.int64())])
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
GOOD, BAD = "succeeded", "failed"


def rows_of(number, given, **more):
    count = len(given)
    return pa.table(
        {
            "id": pa.array(list(given), pa.int64()),
            "answer": [f"{number}, “{one}”\n" for one in given],
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


@pytest.fixture(params=["csv", "tsv", "jsonl"])
def out(request, tmp_path):
    with closing(TextAnswerFile(tmp_path / f"answers.{request.param}", request.param)) as file:
        yield file


def read(out):
    if out.path.suffix == ".jsonl":
        return [json.loads(line) for line in out.path.read_text().splitlines()]
    with out.path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t" if out.path.suffix == ".tsv" else ",", strict=True))
    return [{name: value or None for name, value in {**row, "id": int(row["id"])}.items()} for row in rows]


@pytest.fixture
def merge(out, tmp_path):
    def written(number, given, **more):
        made = tmp_path / ".made"
        pq.write_table(rows_of(number, given, **more), made)
        out.merge(made, KEY, run_id=f"run {number}")
        assert [path.name for path in tmp_path.iterdir()] == [out.path.name]
        return [(row["id"], row["answer"]) for row in read(out)]

    return written


def said(number, one):
    return one, f"{number}, “{one}”\n"


def test_rows_replace_older_ones_and_the_others_stay(merge):
    assert merge(1, {1: ("a", GOOD), 2: ("a", GOOD), 3: ("a", BAD)}) == [said(1, 1), said(1, 2), said(1, 3)]
    assert merge(2, {2: ("b", GOOD), 3: ("a", GOOD), 4: ("a", BAD)}) == [said(1, 1), said(2, 2), said(2, 3), said(2, 4)]
    # A failure does not take the place of a good answer.
    assert merge(3, {2: ("b", BAD)}) == [said(1, 1), said(2, 2), said(2, 3), said(2, 4)]


def test_merged_again_it_is_the_same(merge, out):
    merge(1, {1: ("a", GOOD), 2: ("a", GOOD)})
    merged = merge(2, {1: ("b", GOOD)})
    content = out.path.read_bytes()
    assert merge(2, {1: ("b", GOOD)}) == merged == [said(1, 2), said(2, 1)]
    assert out.path.read_bytes() == content


def test_a_column_that_a_row_lacks_is_null(merge, out):
    merge(1, {1: ("a", GOOD)})
    merge(2, {2: ("a", GOOD)}, score=[0.5])
    assert [row.get("score") and float(row["score"]) for row in read(out)] == [None, 0.5]


def test_a_column_that_a_person_has_added_stays(merge, out):
    merge(1, {1: ("a", GOOD), 2: ("a", GOOD)})
    if out.path.suffix == ".jsonl":
        out.path.write_text("".join(json.dumps({**row, "note": {"seen": 1.50}}) + "\n" for row in read(out)))
    else:
        delimiter = "\t" if out.path.suffix == ".tsv" else ","
        head, *lines = list(csv.reader(out.path.open(newline=""), delimiter=delimiter))
        with out.path.open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([[*head, "note"], *([*line, "seen"] for line in lines)])
    out.close()
    merge(2, {2: ("b", GOOD)})
    assert [row.get("note") for row in read(out)] in (["seen", None], [{"seen": 1.50}, None])


def test_a_file_that_holds_no_answers_is_not_ours_to_write(out):
    out.path.write_text('{"name": "mine"}\n' if out.path.suffix == ".jsonl" else "name\nmine\n")
    with pytest.raises(ConfigError, match=r"holds no answers by the key id; name another file, or move it away"):
        out.check(rows_of(1, {1: ("a", GOOD)}).schema, ["id"])


@pytest.mark.parametrize("content", [b"", None])
def test_a_file_with_nothing_in_it_is_written(merge, out, content):
    if content is not None:
        out.path.write_bytes(content)
    out.check(rows_of(1, {1: ("a", GOOD)}).schema, ["id"])
    assert merge(1, {1: ("a", GOOD)}) == [said(1, 1)]


def test_a_file_that_cannot_be_read_is_named_and_stays(out):
    out.path.write_bytes(b'\xff\xfe{"')
    with pytest.raises(ConfigError, match=rf"{out.path.name}.*name another, or move it away"):
        out.check(rows_of(1, {1: ("a", GOOD)}).schema, ["id"])
    assert out.path.read_bytes() == b'\xff\xfe{"'


def test_killed_before_it_lands_the_file_is_as_it_was(merge, out, tmp_path, monkeypatch):
    merge(1, {1: ("a", GOOD)})
    before = out.path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("greennode_batch.write.text_answer_file.write_texts", killed)
    with pytest.raises(KeyboardInterrupt):
        merge(2, {1: ("b", GOOD)})
    assert out.path.read_bytes() == before
    monkeypatch.undo()
    assert merge(2, {1: ("b", GOOD)}) == [said(2, 1)]
