import msgspec
import pytest

from greennode_batch.api.polling.polling import Done, Wait
from greennode_batch.api.polling.watch import UNLISTED, Watch
from greennode_batch.api.status import BatchStatus
from greennode_batch.api.wire import Batch, Counts
from greennode_batch.errors import AuthError, ConfigError, NotFoundError, RetryableError

DEADLINE = 100_000.0


def a_batch(status=BatchStatus.IN_PROGRESS, *, done=0, total=1000, created_at=1e-9, raw_status="in_progress"):
    counts = Counts(total=total, completed=done)
    return Batch(id="batch_1", status=status, raw_status=raw_status, counts=counts, created_at=created_at)


def a_watch(now=0.0, batch_id="batch_1"):
    return Watch(batch_id, deadline=DEADLINE, now=now)


def after(watch):
    assert isinstance(watch.step, Wait)
    return watch.step.seconds


@pytest.mark.parametrize(("age", "seconds"), [(2, 1), (100, 10), (590, 59), (50_000, 60)])
def test_the_interval_is_a_tenth_of_the_age(age, seconds):
    watch = a_watch()
    watch.seen(a_batch(), now=age)
    assert after(watch) == pytest.approx(seconds)
    assert age + 0.84 * seconds < watch.due <= age + seconds


def test_batches_of_one_age_are_not_due_at_one_moment():
    dues = set()
    for number in range(50):
        watch = a_watch(batch_id=f"batch_{number}")
        watch.seen(a_batch(), now=5000.0)
        dues.add(watch.due)
    assert len(dues) > 40


def test_a_batch_that_is_nearly_through_is_looked_at_when_it_should_be():
    watch = a_watch()
    watch.seen(a_batch(done=900), now=9000.0)
    watch.seen(a_batch(done=990), now=9090.0)
    assert after(watch) == pytest.approx(10.0)


def test_a_batch_that_stalls_just_before_its_end_is_looked_at_ever_less_often():
    watch = a_watch()
    watch.seen(a_batch(done=900), now=9000.0)
    intervals = []
    now = 9090.0
    for _ in range(12):
        watch.seen(a_batch(done=999), now=now)
        intervals.append(after(watch))
        now += after(watch)
    assert intervals == sorted(intervals)
    watch.seen(a_batch(done=999), now=80_000.0)
    assert after(watch) == 60


def test_a_batch_that_finalizes_for_hours_is_looked_at_ever_less_often():
    watch = a_watch()
    watch.seen(a_batch(done=1000), now=9000.0)
    assert after(watch) == 1
    watch.seen(a_batch(done=1000), now=9100.0)
    assert after(watch) == pytest.approx(10)
    watch.seen(a_batch(done=1000), now=20_000.0)
    assert after(watch) == 60


def test_counts_that_make_no_sense_do_no_harm():
    watch = a_watch()
    for done, total in ((0, 0), (5000, 1000), (3, 1000), (2, 0), (7, 1000)):
        watch.seen(a_batch(done=done, total=total), now=9000.0)
        assert 0 < after(watch) <= 60


def test_an_end_that_the_list_shows_is_an_end_and_a_failure_is_asked_for_by_itself():
    watch = a_watch()
    assert watch.listed(a_batch(BatchStatus.COMPLETED), 3, now=10.0)
    assert watch.step == Done("ended", "COMPLETED")
    failed = a_watch()
    assert not failed.listed(a_batch(BatchStatus.FAILED), 3, now=10.0)
    assert (failed.page, failed.due) == (UNLISTED, 10.0)
    assert isinstance(failed.step, Wait)


def test_an_entry_of_the_list_without_a_status_says_nothing():
    watch = a_watch()
    assert not watch.listed(a_batch(BatchStatus.UNKNOWN, raw_status=""), 1, now=10.0)
    assert watch.page == UNLISTED


def test_a_batch_that_the_list_lacks_is_looked_for_ever_further_back():
    watch = a_watch()
    fronts = []
    for _ in range(5):
        fronts.append(watch.page)
        watch.missed(watch.page)
    assert fronts == [1, 2, 4, 8, 16]
    watch.listed(a_batch(), 20, now=1.0)
    watch.missed(20)
    assert watch.page == 21


def test_no_failure_ends_the_wait_before_the_deadline_save_what_lasts_for_half_an_hour():
    for error, reason in ((NotFoundError("no"), "forgotten"), (AuthError("no"), "refused")):
        watch = a_watch()
        watch.failed(error, now=10.0)
        watch.failed(error, now=1809.0)
        assert isinstance(watch.step, Wait)
        watch.seen(a_batch(), now=1809.5)
        watch.failed(error, now=1810.0)
        assert isinstance(watch.step, Wait), "what was well in between begins anew"
        watch.failed(error, now=3611.0)
        assert watch.step == Done(reason)
    for error in (RetryableError("503"), ConfigError("no such connection")):
        watch = a_watch()
        for now in range(0, int(DEADLINE), 50):
            watch.failed(error, now=float(now))
            assert 0 < after(watch) <= 60
        watch.failed(error, now=DEADLINE)
        assert watch.step == Done("deadline")


def test_the_last_look_is_at_the_deadline():
    watch = a_watch()
    watch.seen(a_batch(), now=DEADLINE - 10)
    assert watch.due <= DEADLINE
    watch.seen(a_batch(), now=DEADLINE)
    assert watch.step == Done("deadline", "IN_PROGRESS")


def test_a_batch_with_local_times_is_not_polled_once_a_second_for_hours():
    now, polls = 1e9, 0
    local = Batch(id="batch_1", status=BatchStatus.IN_PROGRESS, created_at=now + 7 * 3600)
    watch = Watch("batch_1", deadline=now + 26 * 3600, now=now)
    while now < 1e9 + 8 * 3600:
        watch.seen(local, now=now)
        now, polls = watch.due, polls + 1
    assert polls < 650


def test_a_batch_that_stands_still_in_a_word_that_nobody_knows_is_over():
    watch = Watch("batch_1", deadline=9e9, now=0.0)
    odd = Batch(id="batch_1", status=BatchStatus.UNKNOWN, raw_status="finalised", output_file_id="f")
    working = msgspec.structs.replace(odd, counts=Counts(9, 1, 0))
    for now, batch in ((0.0, working), (1_700.0, odd), (3_400.0, odd)):
        watch.seen(batch, now=now)
        assert isinstance(watch.step, Wait)
    watch.seen(odd, now=3_501.0)
    assert watch.step == Done("ended", "UNKNOWN")
