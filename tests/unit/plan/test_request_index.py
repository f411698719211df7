import hashlib

from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.plan.bloom_filter import BloomFilter
from greennode_batch.plan.request_index import MAYBE, RequestIndex

ids = st.integers(0, 60).map(lambda number: hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest())


@given(
    st.lists(st.lists(ids, max_size=8), max_size=20), st.integers(1, 10), st.sampled_from([1, 1 << 10]), st.sets(ids)
)
def test_a_request_that_came_before_is_never_taken_for_a_new_one_nor_for_another_shard_s(
    batches, recent, words, submitted
):
    known = dict.fromkeys(submitted, 100)
    index = RequestIndex(
        lambda requested: dict.fromkeys(submitted & set(requested), 100), recent=recent, older=BloomFilter(words)
    )
    for number, batch in enumerate(batches):
        found = index.indexes_of(batch)
        assert found.keys() <= set(range(len(batch)))
        indexes = [found.get(shard_index) for shard_index in range(len(batch))]
        for custom_id, shard_index in zip(batch, indexes, strict=True):
            assert shard_index in ({MAYBE, known[custom_id]} if custom_id in known else {MAYBE, None})
        new = {custom_id for custom_id, shard_index in zip(batch, indexes, strict=True) if shard_index is None}
        index.add(sorted(new), number)
        known |= dict.fromkeys(new, number)


def test_the_latest_requests_are_always_known_for_certain():
    index = RequestIndex(lambda _: {}, recent=5, older=BloomFilter(1))
    every = [hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest() for number in range(100)]
    for number, custom_id in enumerate(every):
        index.indexes_of([custom_id])
        index.add([custom_id], number)
        latest = every[max(0, number - 4) : number + 1]
        assert index.indexes_of(latest) == dict(enumerate(range(number + 1)[-len(latest) :]))
