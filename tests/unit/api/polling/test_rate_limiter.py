from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.polling.rate_limiter import RateLimiter


@given(st.lists(st.floats(0, 20), max_size=200))
def test_no_more_calls_than_the_rate_and_the_burst_allow(pauses):
    budget, now = RateLimiter(per_second=2.0, burst=5, now=0.0), 0.0
    for made, pause in enumerate(pauses, start=1):
        now += pause
        now += budget.seconds_until_next(now)
        budget.take(now)
        assert made <= 5 + 2.0 * now + 1e-6


def test_what_was_not_used_is_kept_up_to_the_burst():
    budget = RateLimiter(per_second=1.0, burst=3, now=0.0)
    for _ in range(3):
        assert budget.seconds_until_next(1000.0) == 0
        budget.take(1000.0)
    assert budget.seconds_until_next(1000.0) == 1.0


def test_the_server_is_given_the_time_that_it_asks_for_up_to_two_minutes():
    budget = RateLimiter(per_second=1.0, burst=3, now=0.0)
    budget.hold(20.0, 10.0)
    budget.hold(5.0, 10.0)
    assert budget.seconds_until_next(10.0) == 20.0
    assert budget.seconds_until_next(30.0) == 0
    budget.hold(86_400.0, 30.0)
    assert budget.seconds_until_next(30.0) == 120.0
