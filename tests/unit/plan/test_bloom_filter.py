import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.plan.bloom_filter import BloomFilter

hashes = st.lists(st.integers(0, 2**64 - 1), max_size=200).map(lambda numbers: np.array(numbers, np.uint64))


@given(st.lists(hashes, max_size=5), st.sampled_from([1, 16, 1 << 12]))
def test_what_was_added_is_always_held(batches, words):
    seen = BloomFilter(words)
    for batch in batches:
        seen.add(batch)
    assert all(seen.may_hold(batch).all() for batch in batches)


def test_most_of_what_was_not_added_is_told_apart_also_where_hashes_are_numbers_in_a_row():
    seen = BloomFilter(1 << 14)
    seen.add(np.arange(50_000, dtype=np.uint64))
    others = np.arange(50_000, 150_000, dtype=np.uint64)
    # A million bits for 50,000: one in some thousand.
    assert seen.may_hold(others).mean() < 0.01
    assert not BloomFilter(1 << 14).may_hold(others).any()
