from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.state.joined_shard import JoinedShard
from greennode_batch.state.rows_fingerprint import NO_ROWS, RowsFingerprint

SIDES = st.builds(RowsFingerprint, st.integers(0, 10**9), st.integers(0, 2**64 - 1))


@given(SIDES, SIDES, SIDES)
def test_neither_order_nor_grouping_changes_the_sum(one, other, third):
    assert one.joined_with(other) == other.joined_with(one)
    assert one.joined_with(other).joined_with(third) == one.joined_with(other.joined_with(third))
    assert one.joined_with(NO_ROWS) == one


@given(SIDES)
def test_a_note_keeps_all_of_its_bits(side):
    assert len(side.hex) == 16
    assert JoinedShard(rows=side.rows, statuses={}, fingerprint=side.hex).rows_fingerprint == side
