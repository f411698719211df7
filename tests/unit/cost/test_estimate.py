from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.cost.estimate import estimate, estimate_tokens
from greennode_batch.job.prices import Price, Prices
from greennode_batch.state.cost_estimate import Usage

PRICES = Prices({"m": Price(prompt=10, completion=100)})


def seen(requests, estimated, prompt, completion):
    return {"m": Usage(requests, estimated, prompt, completion, "by 2 earlier runs")}


def test_a_batch_costs_the_real_time_price_less_the_discount():
    made = estimate({"m": 1_000_000}, {"m": 1_000}, {"m": 500_000}, PRICES)
    assert (made.prompt_tokens, made.completion_tokens, made.cost) == (1_000_000, 500_000, (10 + 50) / 2)
    assert (
        estimate({"m": 1_000_000}, {"m": 1_000}, {"m": 500_000}, Prices(PRICES.by_model, batch_discount=0)).cost == 60
    )


def test_what_earlier_requests_used_makes_the_likely_cost_and_max_tokens_the_most():
    made = estimate({"m": 1_000_000}, {"m": 1_000}, {"m": 500_000}, PRICES, seen(100, 1_000, 1_500, 5_000))
    assert (made.prompt_tokens, made.completion_tokens, made.max_completion_tokens) == (1_500_000, 50_000, 500_000)
    assert (made.cost, made.max_cost) == ((15 + 5) / 2, (15 + 50) / 2)
    assert made.seen_requests == 100
    assert str(made) == (
        "estimate: 1,500,000 prompt and about 50,000 completion tokens (at most 500,000), about 10 VND (at most 32 VND)"
        "; live about 20 VND"
        " (by 2 earlier runs)"
    )


def test_where_answers_are_bounded_by_nothing_what_was_seen_makes_the_cost():
    made = estimate({"m": 1_000_000}, {"m": 1_000}, {"m": None}, PRICES, seen(10, 10, 10, 500))
    assert (made.cost, made.max_completion_tokens, made.max_cost) == ((10 + 5) / 2, None, None)


def test_where_nothing_tells_how_long_answers_are_no_cost_is_made_up():
    made = estimate({"m": 1_000}, {"m": 1}, {"m": None}, PRICES)
    assert (made.completion_tokens, made.cost, made.unpriced) == (None, None, ())
    assert str(made) == (
        "estimate: 1,000 prompt and an unknown number of completion tokens, so the cost is unknown "
        "(by the length of the texts)"
    )


def test_one_model_without_a_price_makes_the_cost_unknown():
    made = estimate({"m": 1, "n": 1}, {"m": 1, "n": 1}, {"m": 5, "n": 5}, PRICES)
    assert (made.cost, made.unpriced) == (None, ("n",))
    assert made.by_model["m"].cost is not None
    assert "no price known for n" in str(made)


def test_a_model_that_is_asked_nothing_needs_no_price():
    made = estimate({"m": 1, "n": 0}, {"m": 1, "n": 0}, {"m": 5, "n": 0}, PRICES)
    assert made.cost is not None
    assert list(made.by_model) == ["m"]
    assert estimate({"n": 0}, {"n": 0}, {"n": 0}, PRICES).cost == 0


@given(
    st.dictionaries(st.sampled_from("mnop"), st.tuples(st.integers(0, 10**6), st.integers(0, 10**9))),
    st.one_of(st.none(), st.integers(1, 10_000)),
    st.dictionaries(st.sampled_from("mnop"), st.tuples(*[st.integers(1, 10**6)] * 4)),
)
def test_the_estimate_of_a_run_is_the_sum_of_those_of_its_models(models, max_tokens, seen):
    prices = Prices({model: Price(3, 7) for model in "mnop"})
    used = {model: Usage(*counts, "by the first request") for model, counts in seen.items()}
    requests = {model: count for model, (count, _) in models.items()}
    most = {model: None if max_tokens is None else count * max_tokens for model, count in requests.items()}
    made = estimate({model: tokens for model, (_, tokens) in models.items()}, requests, most, prices, used)
    parts = made.by_model.values()
    assert made.prompt_tokens == sum(part.prompt_tokens for part in parts)
    if made.cost is not None:
        assert made.cost == pytest.approx(sum(part.cost for part in parts))
    if made.max_cost is not None:
        assert made.cost <= made.max_cost


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog.", 9, 13),
        ("Mất mạng từ 6h sáng đến giờ, không ai gọi lại cho tôi.", 15, 30),
        ("これは日本語の文章です", 9, 16),
    ],
)
def test_the_estimate_is_near_what_tokenizers_count(text, least, most):
    assert least <= estimate_tokens(len(text), len(text.encode())) <= most
