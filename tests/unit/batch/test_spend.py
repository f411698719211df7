from __future__ import annotations

import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.spend import Price, Prices, estimate, estimate_tokens, read_prices


def test_a_batch_costs_the_real_time_price_less_the_discount():
    prices = Prices({"m": Price(prompt=10, completion=100)})
    made = estimate({"m": 1_000_000}, {"m": 1_000}, 500, prices)
    assert (made.prompt_tokens, made.completion_tokens, made.cost) == (1_000_000, 500_000, (10 + 50) / 2)
    assert estimate({"m": 1_000_000}, {"m": 1_000}, 500, Prices(prices.by_model, batch_discount=0)).cost == 60


def test_one_model_without_a_price_makes_the_cost_unknown():
    made = estimate({"m": 1, "n": 1}, {"m": 1, "n": 1}, 5, Prices({"m": Price(1, 1)}))
    assert made.cost is None


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


def test_a_price_table_is_read_as_people_write_it():
    table = {"google/gemma-4-31b-it": [5671, 14178], "currency": "USD", "batch_discount": 0.4}
    assert read_prices(table) == Prices({"google/gemma-4-31b-it": Price(5671, 14178)}, "USD", 0.4)


@pytest.mark.parametrize("table", [{"m": 5}, {"m": [1]}, {"m": ["a", "b"]}, {"batch_discount": "half"}])
def test_an_entry_that_is_no_price_is_named(table):
    with pytest.raises(ConfigError, match="prices: "):
        read_prices(table)
