import dataclasses
import uuid

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import BudgetError, ConfigError
from greennode_batch.job.budget import Budget
from greennode_batch.source.rows import RowBatch, Rows, first_rows, within_max_rows

SIZES = st.lists(st.integers(1, 4), max_size=6)


def rows_of(sizes, *, requested=None):
    """Rows 0, 1, 2, … in batches of these sizes; each batch that was asked for is noted in `requested`."""
    start, batches = 0, []
    for size in sizes:
        batches.append([(number,) for number in range(start, start + size)])
        start += size

    def noted():
        for batch in batches:
            if requested is not None:
                requested.append(len(batch))
            yield batch

    return Rows.from_tuples(("id",), noted())


def ids_of(rows):
    return [value for batch in rows.batches for value in batch.values("id")]


@given(SIZES, st.integers(1, 12))
def test_the_first_rows_are_cut_and_no_batch_after_the_last_of_them_is_asked_for(sizes, count):
    requested = []
    found = ids_of(first_rows(rows_of(sizes, requested=requested), count))
    assert found == list(range(min(count, sum(sizes))))
    assert sum(requested[:-1]) < count


@given(SIZES)
def test_none_are_all_the_rows(sizes):
    assert ids_of(first_rows(rows_of(sizes), None)) == list(range(sum(sizes)))


@given(SIZES, st.none() | st.integers(1, 12))
def test_one_row_more_than_the_budget_allows_is_an_error_and_as_many_are_none(sizes, most):
    rows = within_max_rows(rows_of(sizes), Budget(max_rows=most))
    if most is None or sum(sizes) <= most:
        assert ids_of(rows) == list(range(sum(sizes)))
    else:
        with pytest.raises(BudgetError, match=rf"more than {most} rows.*nothing was sent"):
            ids_of(rows)


def test_without_a_budget_the_rows_are_as_they_are():
    rows = rows_of([3])
    assert within_max_rows(rows, None) is rows


def test_a_limited_source_keeps_what_is_said_of_it():
    rows = dataclasses.replace(rows_of([3]), origin="part 1 of 2")
    assert first_rows(within_max_rows(rows, Budget(max_rows=5)), 2).origin == "part 1 of 2"


def test_a_batch_of_no_rows_is_left_out_and_a_source_without_rows_has_columns():
    rows = Rows.from_tuples(("id", "text"), iter([[], [(1, "x")], []]))
    assert [len(batch) for batch in rows.batches] == [1]
    assert Rows.from_tuples(("id",), iter([])).columns == ("id",)


def test_a_name_that_comes_twice_is_refused():
    with pytest.raises(ConfigError, match=r"the source has the column\(s\) a twice"):
        Rows.from_tuples(("a", "b", "a"), iter([]))


VALUES = st.lists(st.none() | st.text(max_size=3) | st.integers(), min_size=1, max_size=8)


@given(VALUES, st.data())
def test_rows_that_are_taken_are_the_same_rows_as_columns_and_as_values(values, data):
    indexes = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=8))
    texts = pa.array([None if value is None else str(value) for value in values], pa.string())
    taken = RowBatch(len(values), {"raw": values, "text": texts}).take(indexes)
    assert len(taken) == len(indexes)
    assert list(taken.values("raw")) == [values[index] for index in indexes]
    assert taken.array("text").to_pylist() == [texts[index].as_py() for index in indexes]


def test_a_document_is_what_it_says_to_a_prompt_and_its_very_text_in_staging():
    stored = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"b":1,  "a": [2]}', None]))
    batch = RowBatch(2, {"doc": stored})
    assert batch.values("doc") == [{"b": 1, "a": [2]}, None]
    assert batch.array("doc").to_pylist() == ['{"b":1,  "a": [2]}', None]


def test_a_document_that_is_no_json_is_named_by_its_column():
    batch = RowBatch(1, {"doc": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{oops"]))})
    with pytest.raises(ConfigError, match=r"column doc holds a text that is not JSON .*Nothing was sent"):
        batch.values("doc")


def test_what_has_no_plain_type_is_text_in_staging():
    key = uuid.UUID("0b8d5bb9-7c64-4ac0-a7ad-0d0e6f4e0d52")
    batch = RowBatch(1, {"key": pa.array([key.bytes], pa.uuid()), "tags": pa.array([["a", None]])})
    assert batch.array("key").to_pylist() == [str(key)]
    assert batch.array("tags").to_pylist() == ['["a", null]']
