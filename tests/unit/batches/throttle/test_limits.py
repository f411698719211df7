import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.batches.throttle.limits import Limits, read_limits
from greennode_batch.errors import ConfigError

LIMITS = st.builds(Limits, st.none() | st.integers(1, 5), st.none() | st.integers(1, 100))
TOKENS = st.integers(0, 60)


def test_a_limit_that_is_empty_is_none():
    assert not Limits()
    assert Limits(max_enqueued_tokens=1)
    assert read_limits({"max_batches_in_flight": None, "max_enqueued_tokens": ""}, where="connection 'c'") == Limits()
    assert read_limits({"max_batches_in_flight": "20"}, where="connection 'c'") == Limits(max_batches_in_flight=20)


@pytest.mark.parametrize("said", [0, -1, "many", 1.5, True])
def test_a_limit_that_is_no_number_or_too_low_is_refused_by_its_name(said):
    with pytest.raises(ConfigError, match=r"connection 'c': max_batches_in_flight is .*; it is a whole number, 1 or"):
        read_limits({"max_batches_in_flight": said}, where="connection 'c'")


def test_a_message_names_the_limits_that_there_are():
    assert str(Limits(max_enqueued_tokens=2_000_000)) == "max_enqueued_tokens 2,000,000"
    assert str(Limits(3, 5)) == "max_batches_in_flight 3, max_enqueued_tokens 5"


@given(LIMITS, TOKENS)
def test_a_shard_of_any_size_may_go_alone(limits, tokens):
    assert limits.allow([], tokens)


@given(LIMITS, st.lists(TOKENS, max_size=8))
def test_whoever_lets_shards_in_one_by_one_never_has_more_at_the_server_than_the_limits_say(limits, coming):
    under_way = []
    for tokens in coming:
        if limits.allow(under_way, tokens):
            under_way.append(tokens)
    assert limits.max_batches_in_flight is None or len(under_way) <= limits.max_batches_in_flight
    assert limits.max_enqueued_tokens is None or len(under_way) < 2 or sum(under_way) <= limits.max_enqueued_tokens


@given(st.lists(TOKENS, max_size=8), TOKENS)
def test_without_limits_everything_goes_at_once(others, tokens):
    assert Limits().allow(others, tokens)
