import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.polling.pace import Pace
from greennode_batch.api.polling.polling import (
    FORGOTTEN_SECONDS,
    MAX_POLL_SECONDS,
    MIN_POLL_SECONDS,
    QUIET_SECONDS,
    THROUGH_SECONDS,
    Done,
    Wait,
    after_failures,
    next_step,
    when_missing,
    when_refused,
)
from greennode_batch.api.status import BatchStatus
from greennode_batch.api.wire import Batch, Counts

OPEN = [status for status in BatchStatus if not status.is_terminal]
ENDED = [status for status in BatchStatus if status.is_terminal]


def a_batch(status=BatchStatus.IN_PROGRESS, *, created_at=None, done=0):
    counts = Counts(total=1000, completed=done)
    return Batch(id="batch_1", status=status, counts=counts, created_at=created_at)


@pytest.mark.parametrize("status", ENDED)
def test_a_batch_that_has_ended_is_done_also_after_the_deadline(status):
    assert next_step(a_batch(status), now=10.0, deadline=5.0) == Done("ended", status.name)


@pytest.mark.parametrize("status", OPEN)
def test_at_the_deadline_it_is_said_how_the_batch_stood(status):
    assert next_step(a_batch(status), now=5.0, deadline=5.0) == Done("deadline", status.name)


@given(st.sampled_from(OPEN), st.floats(1, 1e9), st.none() | st.floats(1, 1e9), st.floats(0.001, 1e6))
def test_until_then_it_is_looked_at_again_within_a_minute_and_not_after_the_deadline(status, now, created_at, left):
    deadline = now + left
    step = next_step(a_batch(status, created_at=created_at), now=now, deadline=deadline)
    assert isinstance(step, Wait)
    assert 0 < step.seconds <= MAX_POLL_SECONDS
    assert now + step.seconds <= deadline


@given(st.floats(1, 1e6), st.floats(0, 1e6))
def test_an_end_is_noticed_within_a_tenth_of_the_time_that_the_batch_took_or_a_second(created_at, age):
    step = next_step(a_batch(created_at=created_at), now=created_at + age, deadline=1e12)
    assert step.seconds <= max(age / 10, MIN_POLL_SECONDS) + 1e-6


def test_a_batch_that_is_nearly_through_is_looked_at_when_it_should_be():
    pace = Pace()
    pace.take(a_batch(created_at=1.0, done=900), now=9000.0)
    pace.take(nearly := a_batch(created_at=1.0, done=990), now=9090.0)
    assert next_step(nearly, now=9090.0, deadline=1e9, pace=pace).seconds == pytest.approx(10.0)
    assert next_step(nearly, now=9090.0, deadline=1e9).seconds == MAX_POLL_SECONDS


def test_a_batch_that_the_server_does_not_know_is_forgotten_after_half_an_hour_and_not_before():
    now = since = 1000.0
    polls = 0
    while isinstance(step := when_missing(since, now=now), Wait):
        assert step.seconds > 0
        now += step.seconds
        polls += 1
    assert step == Done("forgotten")
    assert now - since == pytest.approx(FORGOTTEN_SECONDS)
    assert polls < 100


def test_a_refusal_that_lasts_for_half_an_hour_is_the_last_word():
    assert when_refused(0.0, now=FORGOTTEN_SECONDS - 1, failures=9) == Wait(MAX_POLL_SECONDS)
    assert when_refused(0.0, now=FORGOTTEN_SECONDS, failures=9) == Done("refused")


@given(st.integers(0, 10**6))
def test_each_failure_in_a_row_makes_the_pause_longer_up_to_a_minute(failures):
    one, more = after_failures(failures).seconds, after_failures(failures + 1).seconds
    assert MIN_POLL_SECONDS <= one <= more <= MAX_POLL_SECONDS
    assert more == MAX_POLL_SECONDS or more > one


@given(st.floats(-50_400, 43_200))
def test_an_age_is_counted_from_our_own_clock_whatever_the_server_calls_the_time(hours_off):
    step = next_step(a_batch(created_at=1e6 + hours_off), now=1e6 + 300.0, deadline=1e9, since=1e6)
    assert step == Wait(30.0)


def odd(*, output="file-out", counts=None):
    return Batch(
        id="batch_1",
        status=BatchStatus.UNKNOWN,
        raw_status="PARTIAL",
        output_file_id=output,
        counts=counts or Counts(),
        created_at=1.0,
    )


@pytest.mark.parametrize(
    ("batch", "seconds"),
    [
        (odd(), QUIET_SECONDS),
        (odd(counts=Counts(10, 8, 2)), THROUGH_SECONDS),
        (odd(counts=Counts(10, 8, 0)), QUIET_SECONDS),
    ],
)
def test_an_unknown_word_with_a_result_file_that_stands_still_is_an_end(batch, seconds):
    now = 90_000.0
    assert isinstance(next_step(batch, now=now, deadline=1e9, quiet_since=now - seconds + 1), Wait)
    assert next_step(batch, now=now, deadline=1e9, quiet_since=now - seconds) == Done("ended", "UNKNOWN")


@pytest.mark.parametrize("batch", [odd(output=None), a_batch(BatchStatus.IN_PROGRESS, created_at=1.0)])
def test_without_a_result_file_or_with_a_word_that_is_known_waiting_goes_on(batch):
    assert isinstance(next_step(batch, now=90_000.0, deadline=1e9, quiet_since=1.0), Wait)
