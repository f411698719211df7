from greennode_emulator.rate_limits import RateLimits

NOW = 1_800_000_000.0


def test_a_window_of_a_minute_begins_with_its_first_call():
    limits = RateLimits(requests=2)
    assert [limits.admit(NOW), limits.admit(NOW + 30)] == [None, None]
    refusal = limits.admit(NOW + 59.5)
    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert limits.headers(NOW + 59.5) == {
        "X-RateLimit-Limit-Requests": "2",
        "X-RateLimit-Remaining-Requests": "0",
        "X-RateLimit-Reset-Requests": "1",
        "Retry-After": "1",
    }
    assert limits.admit(NOW + 60) is None
    assert limits.headers(NOW + 60)["X-RateLimit-Remaining-Requests"] == "1"
    # The next window did not begin with the minute that the first one began.
    assert limits.admit(NOW + 119) is None
    assert limits.admit(NOW + 119.9) is not None


def test_tokens_count_once_they_are_known():
    limits = RateLimits(tokens=100)
    for _ in range(3):
        assert limits.admit(NOW) is None
    limits.use_tokens(99)
    assert limits.admit(NOW) is None
    limits.use_tokens(30)
    assert limits.admit(NOW + 20) is not None
    assert limits.headers(NOW + 20)["X-RateLimit-Remaining-Tokens"] == "0"
    assert limits.headers(NOW + 20)["Retry-After"] == "40"
    assert limits.admit(NOW + 60) is None


def test_without_limits_nothing_is_refused_or_said():
    limits = RateLimits()
    assert limits.admit(NOW) is None
    limits.use_tokens(1_000_000)
    assert limits.headers(NOW) == {}


def test_after_a_reset_nothing_is_used():
    limits = RateLimits(requests=1)
    limits.admit(NOW)
    limits.reset()
    assert limits.admit(NOW) is None
