import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.polling.pace import Pace
from greennode_batch.api.status import BatchStatus
from greennode_batch.api.wire import Batch, Counts


def seen(done, *, failed=0, total=1000, created_at=0.5):
    counts = Counts(total=total, completed=done, failed=failed)
    return Batch(id="batch_1", status=BatchStatus.IN_PROGRESS, counts=counts, created_at=created_at)


def test_the_pace_is_told_in_words():
    pace = Pace()
    assert pace.in_words(0.0) == ""
    pace.take(seen(100), now=1000.0)
    pace.take(seen(400), now=1100.0)
    assert pace.in_words(1100.0) == "; 3 a second, about 3 min left"
    assert pace.seconds_left(1100.0) == 200.0
    assert pace.per_second(1400.0) < 1.0, "it falls while nothing gets done"


@pytest.mark.parametrize(
    ("left", "words"), [(119, "about 119 s left"), (7199, "about 120 min left"), (7200, "about 2 h left")]
)
def test_the_time_left_is_told_in_the_unit_that_a_person_would_use(left, words):
    pace = Pace()
    pace.take(seen(0, total=left + 1), now=10.0)
    pace.take(seen(1, total=left + 1), now=11.0)
    assert words in pace.in_words(11.0)


def test_what_failed_is_over_as_well():
    pace = Pace()
    pace.take(seen(300, failed=700), now=1000.0)
    assert (pace.full_since(), pace.seconds_left(1000.0)) == (1000.0, 0.0)
    assert pace.in_words(1000.0) == ""


def test_counts_that_fall_back_begin_anew():
    pace = Pace()
    pace.take(seen(900), now=1000.0)
    pace.take(seen(1000), now=1100.0)
    pace.take(seen(10), now=1200.0)
    assert pace.full_since() is None
    assert pace.per_second(1200.0) < 0.01


@given(st.lists(st.tuples(st.integers(0, 500), *[st.integers(0, 20)] * 3), min_size=1, max_size=8))
def test_whatever_a_server_counts_nothing_is_negative_or_fails(polls):
    pace, now = Pace(), 0.0
    for seconds, done, failed, total in polls:
        now += seconds
        pace.take(seen(done, failed=failed, total=total, created_at=None), now=now)
        left = pace.seconds_left(now)
        assert pace.per_second(now) >= 0
        assert left is None or left >= 0
        assert (pace.full_since() is not None) <= (left == 0.0)
        assert pace.in_words(now) == "" or left
