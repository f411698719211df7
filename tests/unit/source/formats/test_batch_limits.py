import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.source.formats import batch_limits
from greennode_batch.source.formats.batch_limits import joined, pieces

ROWS, BYTES = 7, 200
TEXTS = st.lists(st.integers(0, 300).map("x".__mul__), max_size=20)


@pytest.fixture(autouse=True, scope="module")
def _small_limits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_limits, "MAX_ROWS", ROWS)
        patch.setattr(batch_limits, "MAX_BYTES", BYTES)
        yield


def batch_of(texts):
    return pa.record_batch({"text": pa.array(texts, pa.string())})


def texts_of(batches):
    return [text for batch in batches for text in batch["text"].to_pylist()]


@given(TEXTS)
def test_pieces_are_the_batch_and_each_is_within_the_limits_or_one_row(texts):
    made = list(pieces(batch_of(texts)))
    assert texts_of(made) == texts
    assert all(0 < piece.num_rows <= ROWS for piece in made)
    assert all(piece.nbytes <= BYTES or piece.num_rows == 1 for piece in made)


@given(st.lists(TEXTS, max_size=6))
def test_what_is_joined_is_all_rows_in_their_order_within_the_limits(parts):
    small = [piece for part in parts for piece in pieces(batch_of(part))]
    made = list(joined(small))
    assert texts_of(made) == texts_of(small)
    assert all(batch.num_rows <= ROWS for batch in made)
    assert all(batch.nbytes <= BYTES or batch.num_rows == 1 for batch in made)


@given(st.integers(0, 40))
def test_batches_of_a_row_become_as_few_as_there_may_be(rows):
    made = list(joined(batch_of(["x"]) for _ in range(rows)))
    assert len(made) == -(-rows // ROWS)


def test_one_batch_at_a_time_is_held():
    read = 0

    def many():
        nonlocal read
        for _ in range(100):
            read += 1
            yield batch_of(["x"] * ROWS)

    batches = joined(many())
    next(batches)
    assert read == 2
