import numpy as np
import pyarrow as pa
import pytest

from greennode_batch.incremental.batch_buffer import BatchBuffer
from greennode_batch.incremental.row_hashes import ROW_HASHES
from greennode_batch.source.formats.batch_limits import MAX_BYTES, MAX_ROWS
from greennode_batch.source.rows import RowBatch, Rows


def batch_of(*values):
    (batch,) = Rows.from_tuples(("x", "y"), [[(value, index) for index, value in enumerate(values)]]).batches
    hashes = np.array([(index, 0) for index in range(len(values))], ROW_HASHES)
    return batch, hashes


@pytest.fixture
def buffered():
    return BatchBuffer(("x", "y"), kept=("y", "x"))


def test_the_rows_of_several_batches_come_out_as_one_in_order(buffered):
    for values in (["a", "b"], [None], [7, {"c": 1}]):
        assert list(buffered.add(*batch_of(*values))) == []
    ((batch, hashes),) = buffered.take()
    assert batch.values("x") == ["a", "b", None, 7, {"c": 1}]
    assert len(batch) == 5
    assert hashes["key"].tolist() == [0, 1, 0, 0, 1]
    some = batch.take([1, 2, 4])
    assert (some.values("x"), some.values("y"), len(some)) == (["b", None, {"c": 1}], [1, 0, 1], 3)
    assert list(buffered.take()) == []


def test_columns_whose_types_differ_become_one(buffered):
    list(buffered.add(*batch_of(None, None)))
    list(buffered.add(*batch_of(1)))
    list(buffered.add(*batch_of(2.5)))
    ((batch, _),) = buffered.take()
    assert batch.array("x").to_pylist() == [None, None, 1.0, 2.5]
    assert list(map(repr, batch.values("x"))) == ["None", "None", "1", "2.5"]
    assert batch.take([3, 2]).array("x").to_pylist() == [2.5, 1.0]
    assert batch.array("y").type == pa.int64()


def test_a_column_of_arrow_keeps_its_type(buffered):
    for values in ([1, 2], [3]):
        columns = {name: pa.array(values, pa.int16()) for name in ("x", "y")}
        list(buffered.add(RowBatch(len(values), columns), np.zeros(len(values), ROW_HASHES)))
    ((batch, _),) = buffered.take()
    assert batch.array("x") == pa.array([1, 2, 3], pa.int16())


@pytest.mark.parametrize("value", ["a" * (MAX_BYTES // 2), {"a": "a" * (MAX_BYTES // 2)}])
def test_no_more_is_held_than_one_batch_may_have(buffered, value):
    assert list(buffered.add(*batch_of(value))) == []
    ((first, _),) = buffered.add(*batch_of(value, 1))
    assert len(first) == 1
    ((second, _),) = buffered.add(*batch_of(*range(MAX_ROWS)))
    assert len(second) == 2
    ((third, _),) = buffered.add(*batch_of(1))
    assert len(third) == MAX_ROWS
    ((last, _),) = buffered.take()
    assert last.values("x") == [1]
