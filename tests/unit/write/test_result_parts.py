import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.write import result_parts
from greennode_batch.write.result_parts import ResultParts

FIELDS = [pa.field(name, pa.string()) for name in ("custom_id", "answer", "status", "error")]
SCHEMA = pa.schema([*FIELDS, ("ask_again", pa.bool_())])


def file_of(folder, number, rows, *, group=2):
    """rows: (custom_id, answer, ask_again), each with a status that tells it."""
    path = folder / f"{number}.parquet"
    made = [
        {
            "custom_id": one,
            "answer": answer,
            "status": "failed" if again else "succeeded",
            "error": None,
            "ask_again": again,
        }
        for one, answer, again in rows
    ]
    pq.write_table(pa.Table.from_pylist(made, SCHEMA), path, row_group_size=group)
    return pq.ParquetFile(path)


def said(parts):
    return [row for part in parts for row in part.to_pylist()]


ANSWERS = st.dictionaries(st.sampled_from("abcdef"), st.text(max_size=3), max_size=6)


@pytest.mark.parametrize("held_bytes", [1 << 20, 1], ids=["at once", "in parts"])
@given(attempts=st.lists(ANSWERS, min_size=1, max_size=3))
def test_of_each_request_of_the_first_attempt_the_last_word_comes_once(tmp_path_factory, held_bytes, attempts):
    folder = tmp_path_factory.mktemp("results")
    files = [
        file_of(folder, number, [(one, text, False) for one, text in answers.items()])
        for number, answers in enumerate(attempts)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_parts, "_HELD_BYTES", held_bytes)
        parts = ResultParts(files, FIELDS)
        first, again = said(parts), said(parts)
    last = {one: text for answers in attempts for one, text in answers.items() if one in attempts[0]}
    assert sorted((row["custom_id"], row["answer"]) for row in first) == sorted(last.items())
    assert first == again, "they can be gone through as often as one likes"
    assert sorted(parts.requested.to_pylist()) == sorted(attempts[0])


def test_without_files_there_is_one_empty_part_with_the_columns():
    parts = ResultParts([], FIELDS)
    assert [(part.num_rows, part.schema) for part in parts] == [(0, pa.schema(FIELDS))]
    assert parts.requested.to_pylist() == []


def test_what_was_not_asked_again_for_want_of_money_is_unsent_and_says_why(tmp_path):
    files = [file_of(tmp_path, 1, [("a", None, True), ("b", "x", False)]), file_of(tmp_path, 2, [("a", None, True)])]
    rows = {row["custom_id"]: row for row in said(ResultParts(files, FIELDS, [None, "over budget; attempt 2"]))}
    assert (rows["a"]["status"], rows["a"]["error"]) == ("unsent", "over budget; attempt 2: failed: ")
    assert (rows["b"]["status"], rows["b"]["error"]) == ("succeeded", None)


def test_only_the_columns_that_are_wanted_come_whatever_else_is_read_for_them(tmp_path):
    parts = ResultParts([file_of(tmp_path, 1, [("a", "x", True)])], FIELDS[:2], ["over budget; attempt 1"])
    (part,) = parts
    assert part.column_names == ["custom_id", "answer"]
