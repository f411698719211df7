import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.exchange import Call, Reply, error_of
from greennode_batch.api.retries import (
    MAX_REQUESTED_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    MAX_TRIES,
    error_type,
    next_delay,
    retry_after_seconds,
)
from greennode_batch.errors import (
    AmbiguousError,
    AuthError,
    CreditError,
    NotFoundError,
    RejectedError,
    RetryableError,
)

NOW = 1_750_000_000.0


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (401, "wrong key", AuthError),
        (402, "pay", CreditError),
        (403, "your credit is used up", CreditError),
        (403, "not in your plan", CreditError),
        (403, "quota exceeded", CreditError),
        (403, "this model is not for you", RejectedError),
        (404, "", NotFoundError),
        (410, "", NotFoundError),
        (408, "", RetryableError),
        (409, "", RetryableError),
        (425, "", RetryableError),
        (429, "quota of your plan: 10 a minute", RetryableError),
        (429, "insufficient_quota", CreditError),
        (400, "", RejectedError),
        (413, "", RejectedError),
        (422, "", RejectedError),
        (302, "", RejectedError),
        (500, "", RetryableError),
        (503, "Gateway Auth Unavailable", RetryableError),
        (599, "", RetryableError),
    ],
)
def test_a_status_has_one_error(status, message, error):
    assert error_type(status, message, None) is error


def test_the_apis_code_counts_as_words_too():
    assert error_type(403, "no", "insufficient_balance") is CreditError


@given(st.integers(1, MAX_TRIES - 1), st.floats(0, 0.999))
def test_delays_grow_and_jitter_keeps_at_least_half(attempt, random):
    delay = next_delay(attempt, RetryableError("x"), rng=lambda: random)
    full = min(30.0, 2.0 ** (attempt - 1))
    assert full / 2 <= delay <= full


def test_the_last_try_is_not_followed_by_another():
    assert next_delay(MAX_TRIES, RetryableError("x")) is None


@pytest.mark.parametrize("error", [AmbiguousError, RejectedError, AuthError, CreditError, NotFoundError])
def test_only_what_is_retryable_is_tried_again(error):
    assert next_delay(1, error("x")) is None


@pytest.mark.parametrize(("requested", "waited"), [(0, 0.0), (7, 7.0), (-3, 0.0), (9e9, MAX_RETRY_AFTER_SECONDS)])
def test_what_the_server_asks_for_is_honoured_up_to_a_limit(requested, waited):
    assert next_delay(1, RetryableError("x", retry_after=requested), rng=lambda: 0.0) == waited
    assert waited <= next_delay(1, RetryableError("x", retry_after=requested), rng=lambda: 0.999) <= waited + 1


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"retry-after": "7"}, 7),
        (503, {"retry-after": "1.5"}, 1.5),
        (503, {"retry-after": email.utils.formatdate(NOW + 30, usegmt=True)}, 30),
        (503, {"retry-after": email.utils.formatdate(NOW - 30, usegmt=True)}, 0),
        (429, {"retry-after": "soon"}, None),
        (429, {"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        (429, {"x-ratelimit-reset": "12"}, 12),
        (429, {"x-ratelimit-reset": str(int(NOW) + 12)}, 12),
        (429, {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        (429, {"x-ratelimit-reset-requests": "120ms"}, 0.12),
        (429, {"x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        (429, {"ratelimit-reset": "3"}, 3),
        (429, {"x-ratelimit-reset": "tomorrow"}, None),
        (503, {"x-ratelimit-reset": "12"}, None),
        (429, {}, None),
    ],
)
def test_the_wait_is_read_from_every_header(status, headers, seconds):
    assert retry_after_seconds(status, headers, now=NOW) == pytest.approx(seconds)


@given(st.text(max_size=20))
def test_any_header_is_read_without_an_exception(value):
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset"):
        seconds = retry_after_seconds(429, {name: value}, now=NOW)
        assert seconds is None or seconds >= 0


@pytest.mark.parametrize("blank", ["\x1f", "\x1c", "\x85", "\u2003", "\n"])
def test_a_wait_with_an_odd_blank_beside_it_is_no_error(blank):
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset"):
        assert retry_after_seconds(429, {name: f"{blank}8"}, now=NOW) in {None, 8, 0.008}


MONTH = 30 * 86_400
ASKED = [
    {"retry-after": str(MONTH)},
    {"retry-after-ms": str(MONTH * 1000)},
    {"retry-after": email.utils.formatdate(NOW + MONTH, usegmt=True)},
    {"x-ratelimit-reset": str(MONTH)},
    {"x-ratelimit-reset-tokens": "720h0m0s"},
]


@pytest.mark.parametrize("headers", ASKED)
def test_a_month_that_a_server_asks_for_is_not_waited(headers):
    call = Call(what="create batch", method="POST", path="/batches", deadline_seconds=1.0)
    error = error_of(Reply(429, headers, b""), call, str, now=NOW)
    assert error.retry_after == MAX_REQUESTED_SECONDS
    assert next_delay(1, error, rng=lambda: 0.0) == MAX_RETRY_AFTER_SECONDS
