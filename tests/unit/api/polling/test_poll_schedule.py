import pytest

from greennode_batch.api.polling.poll_schedule import NO_LIST_SECONDS, SINGLE_AT_ONCE, PollSchedule
from greennode_batch.api.polling.polling import Done
from greennode_batch.api.polling.watch import Watch
from greennode_batch.api.status import BatchStatus
from greennode_batch.api.wire import Batch
from greennode_batch.errors import RetryableError

PAGE = 100


def a_batch(batch_id, status=BatchStatus.IN_PROGRESS):
    return Batch(id=batch_id, status=status, raw_status=status.value, created_at=1.0)


def waiting_for(count):
    watches = PollSchedule()
    for number in range(count):
        watches.add(Watch(f"batch_{number:05}", deadline=9e9, now=9_000.0))
    return watches


def read_on(watches, walk, now, *, count, seconds=1.0, ended=()):
    """Read a list of so many batches as far as it pays; (when it is through, the watches that were told)."""
    told = []
    while watches.is_worth_reading(walk, now) and walk.front * PAGE < count:
        now += seconds
        numbers = range(walk.front * PAGE, min(count, (walk.front + 1) * PAGE))
        ids = [f"batch_{number:05}" for number in numbers]
        status = BatchStatus.COMPLETED
        told += watches.listed(walk, [a_batch(one, status) if one in ended else a_batch(one) for one in ids], now=now)
    if walk.front * PAGE >= count:
        watches.end_of_list(walk, now=now)
    watches.end_walk(walk)
    return now, told


def test_ten_thousand_take_two_calls_a_second_at_most_and_each_end_is_seen_in_the_next_round():
    watches, now, pages = waiting_for(10_000), 10_000.0, 0
    ended = {f"batch_{number:05}" for number in (0, 4_711, 9_999)}
    over = []
    for round_number in range(5):
        polls = watches.begin(now)
        assert polls.walk is not None
        assert polls.single == []
        now, told = read_on(watches, polls.walk, now, count=10_000, ended=ended if round_number == 3 else ())
        pages += polls.walk.front
        over += [watch.batch_id for watch in told if isinstance(watch.step, Done)]
        now += watches.seconds_until_due(now) or 0.0
    assert pages / (now - 10_000.0) <= 2
    assert sorted(over) == sorted(ended)


def test_what_is_over_is_looked_at_no_more():
    watches = waiting_for(1)
    assert watches.begin(10_000.0).single == ["batch_00000"]
    (watch,) = watches.seen("batch_00000", a_batch("batch_00000", BatchStatus.COMPLETED), now=10_000.0)
    assert watch.step == Done("ended", "COMPLETED")
    assert watches.begin(20_000.0).single == []
    assert watches.seconds_until_due(20_000.0) is None


def test_without_a_list_so_many_are_asked_for_at_a_time_and_the_longest_due_first():
    watches = waiting_for(30)
    watches.leave_list(60.0, now=10_000.0)
    seen = []
    for _ in range(10):
        polls = watches.begin(10_001.0)
        assert len(polls.single) <= SINGLE_AT_ONCE
        assert watches.begin(10_001.0).single == []
        for batch_id in polls.single:
            watches.seen(batch_id, a_batch(batch_id), now=10_001.0)
        seen += polls.single
    assert len(seen) == len(set(seen)) == 30


def test_one_that_is_asked_for_is_not_asked_again_and_holds_up_no_other():
    watches = waiting_for(2)
    watches.leave_list(1e6, now=10_000.0)
    hanging, other = watches.begin(10_000.0).single
    watches.seen(other, a_batch(other), now=10_000.0)
    assert 0 < watches.seconds_until_due(10_000.0) <= 60
    assert watches.begin(10_100.0).single == [other]
    watches.failed(hanging, RetryableError("late"), now=10_101.0)
    assert watches.begin(10_200.0).single == [hanging]


@pytest.mark.parametrize("ours", [0, 3])
def test_a_list_that_has_nothing_of_ours_is_left_alone_for_long(ours):
    watches = waiting_for(5)
    polls = watches.begin(10_000.0)
    others = [a_batch(f"other_{number}") for number in range(50)]
    mine = [a_batch(f"batch_{number:05}") for number in range(ours)]
    watches.listed(polls.walk, others + mine, now=10_001.0)
    watches.end_of_list(polls.walk, now=10_001.0)
    watches.end_walk(polls.walk)
    assert len(watches.begin(10_002.0).single) == 5 - ours, "no entry proves nothing"
    for number in range(ours, 5):
        watches.seen(f"batch_{number:05}", a_batch(f"batch_{number:05}"), now=10_003.0)
    polls = watches.begin(10_001.0 + NO_LIST_SECONDS / 2)
    assert (polls.walk is not None) == bool(ours)


def test_what_fails_in_here_leaves_nothing_under_way():
    watches = waiting_for(3)
    walk = watches.begin(10_000.0).walk
    assert walk is not None
    assert len(watches.all_failed(RetryableError("a mistake"), now=10_000.0)) == 3
    assert watches.begin(10_100.0).walk is not None


def test_who_leaves_is_told_nothing_any_more():
    watches = PollSchedule()
    first, second = (Watch("batch_1", deadline=9e9, now=1.0) for _ in range(2))
    watches.add(first)
    watches.add(second)
    watches.remove(first)
    assert watches.begin(2.0).single == ["batch_1"]
    assert set(watches.seen("batch_1", a_batch("batch_1"), now=3.0)) == {second}
    watches.remove(second)
    assert len(watches) == 0
