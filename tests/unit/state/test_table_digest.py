import msgspec

from greennode_batch.state.table_digest import NO_DIGEST, TableDigest


def test_sums_wrap_around_and_what_is_added_can_be_taken_away():
    whole = TableDigest(1, 2**64 - 1).joined_with(TableDigest(2, 3))
    assert whole == TableDigest(3, 2)
    assert whole.without(TableDigest(2, 3)) == TableDigest(1, 2**64 - 1)
    assert NO_DIGEST.joined_with(whole) == whole.without(NO_DIGEST) == whole


def test_a_note_keeps_it_as_two_numbers_as_ever():
    kept = b"[5,18446744073709551615]"
    assert msgspec.json.decode(kept, type=TableDigest) == TableDigest(5, 2**64 - 1)
    assert msgspec.json.encode(TableDigest(5, 2**64 - 1)) == kept
