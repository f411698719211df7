import pytest

from greennode_batch.wording import counted


@pytest.mark.parametrize(
    ("count", "several", "words"),
    [(0, "", "0 shards"), (1, "", "1 shard"), (2, "", "2 shards"), (1_200, "", "1,200 shards")],
)
def test_a_number_goes_with_its_noun(count, several, words):
    assert counted(count, "shard", several) == words


def test_a_plural_of_its_own_is_taken_as_it_is():
    assert (counted(1, "batch", "batches"), counted(2, "batch", "batches")) == ("1 batch", "2 batches")
