import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.batches.live_pace import LiveLimits, Pace, read_live_limits
from greennode_batch.errors import ConfigError


def make(**limits):
    return Pace(LiveLimits(**limits), 0.0, rng=lambda: 0.0)


def grown(pace, now=0.0, answers=200, latency=0.5):
    for _ in range(answers):
        pace.answered(pace.sent(now), now + latency, tokens=10)
    return pace


def test_it_grows_to_the_most_that_may_be_under_way():
    pace = make(max_concurrency=64)
    assert pace.seconds_until_next(int(pace.at_a_time), 0.0) is None
    assert grown(pace).at_a_time == 64


def test_requests_that_are_refused_together_halve_it_once():
    pace = grown(make(max_concurrency=64))
    sent = [pace.sent(1.0) for _ in range(64)]
    for one in sent:
        pace.refused(one, 1.0)
    assert pace.at_a_time == 32


def test_after_a_refusal_it_grows_by_one_a_round():
    pace = grown(make(max_concurrency=64))
    pace.refused(pace.sent(1.0), 1.0)
    assert grown(pace, now=10.0, answers=32).at_a_time == pytest.approx(33, abs=0.5)


def test_retry_after_is_honoured():
    pace = make()
    pace.refused(pace.sent(0.0), 0.0, retry_after=30.0)
    assert pace.seconds_until_next(0, 1.0) == pytest.approx(29.0)
    assert pace.seconds_until_next(0, 31.0) == 0


def test_refusals_without_retry_after_hold_it_ever_longer():
    pace, now, holds = make(), 0.0, []
    for _ in range(10):
        pace.refused(pace.sent(now), now)
        holds.append(pace.seconds_until_next(0, now))
        now += holds[-1]
    assert holds == sorted(holds)
    assert holds[-1] <= 60


def test_a_limit_of_the_server_that_is_used_up_is_waited_for():
    pace = make()
    pace.answered(pace.sent(0.0), 0.5, tokens=1, used_up_seconds=20.0)
    assert pace.seconds_until_next(0, 0.5) == pytest.approx(20.0)


def test_answers_that_take_several_times_as_long_lower_it():
    pace = grown(make(max_concurrency=64))
    for _ in range(30):
        pace.answered(pace.sent(10.0), 20.0, tokens=10)
    assert pace.at_a_time < 64


def test_a_request_that_is_rejected_for_what_it_is_lowers_nothing():
    pace = grown(make(max_concurrency=64))
    pace.rejected(pace.sent(10.0), 10.1)
    assert pace.at_a_time == 64


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200), st.integers(1, 30), st.integers(1, 4))
def test_no_minute_has_more_requests_than_its_limit(pauses, limit, workers):
    pace, now, times = make(max_requests_per_minute=limit * workers), 0.0, []
    pace.share(workers, now)
    for pause in pauses:
        now += pause
        now += pace.seconds_until_next(0, now)
        if pace.seconds_until_next(0, now) == 0:
            pace.sent(now)
            times.append(now)
    for index, begin in enumerate(times):
        assert sum(begin <= time < begin + 60 for time in times[index:]) <= limit


def test_tokens_of_a_minute_follow_what_answers_use():
    pace = make(max_tokens_per_minute=6000)
    pace.answered(pace.sent(0.0, 10.0), 0.5, tokens=3000)
    # Half of the minute's tokens are gone.
    assert pace.seconds_until_next(0, 0.5, 10.0) > 25


@given(st.lists(st.sampled_from(["answered", "refused", "rejected"]), max_size=100))
def test_it_never_leaves_its_bounds(events):
    pace, now = make(max_concurrency=16), 0.0
    for event in events:
        now += 1.0
        sent = pace.sent(now)
        if event == "answered":
            pace.answered(sent, now + 0.5, tokens=5)
        elif event == "refused":
            pace.refused(sent, now + 0.5)
        else:
            pace.rejected(sent, now + 0.5)
        assert 1 <= pace.at_a_time <= 16


def test_limits_are_read_from_a_connection():
    assert read_live_limits({"max_concurrency": "8", "max_tokens_per_minute": ""}) == LiveLimits(max_concurrency=8)
    with pytest.raises(ConfigError, match=r"max_concurrency is 0; it is a whole number, 1 or more"):
        read_live_limits({"max_concurrency": 0})
