from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.job.prices import Price, Prices, amount, read_prices


def test_a_price_table_is_read_as_people_write_it():
    table = {"google/gemma-4-31b-it": [5671, 14178], "currency": "USD", "batch_discount": 0.4}
    assert read_prices(table) == Prices({"google/gemma-4-31b-it": Price(5671, 14178)}, "USD", 0.4)


@pytest.mark.parametrize("said", [[1, 2, 0.5], {"prompt": 1, "completion": 2, "cached": 0.5}, ["1", "2", "0.5"]])
def test_a_price_may_tell_what_cached_tokens_cost(said):
    assert read_prices({"m": said}).by_model == {"m": Price(1, 2, 0.5)}


@pytest.mark.parametrize(
    "table",
    [
        {"m": 5}, {"m": [1]}, {"m": [1, 2, 3, 4]}, {"m": ["a", "b"]}, {"m": None}, {"m": [-1, 2]}, {"m": {"prompt": 1}},
        {"m": {"prompt": 1, "completion": 2, "cache": 1}}, {"m": [float("nan"), 1]}, {"m": [1, float("inf")]},
    ],
)  # fmt: skip
def test_an_entry_that_is_no_price_is_named(table):
    with pytest.raises(ConfigError, match="prices: 'm' must be "):
        read_prices(table)


@pytest.mark.parametrize("discount", ["half", -0.1, 1.1, float("nan"), None])
def test_a_discount_lies_from_0_to_1(discount):
    with pytest.raises(ConfigError, match=r"prices: .*batch_discount"):
        read_prices({"batch_discount": discount})


def test_an_entry_of_a_later_table_wins_over_the_same_of_an_earlier():
    connection = {"m": [1, 2], "n": [3, 4], "currency": "USD", "batch_discount": 0.3}
    assert read_prices(connection, {"m": [5, 6]}) == Prices({"m": Price(5, 6), "n": Price(3, 4)}, "USD", 0.3)
    assert read_prices(connection, {"batch_discount": 0}).batch_discount == 0


def test_prices_in_another_currency_are_not_taken_for_the_jobs():
    made = read_prices({"m": [1, 2], "n": [3, 4]}, {"m": [5, 6], "currency": "USD"})
    assert made == Prices({"m": Price(5, 6)}, "USD")


def test_cached_tokens_cost_what_their_price_says():
    assert Price(10, 100).of(1_000_000, 1_000_000, 400_000) == 110
    assert Price(10, 100, 1).of(1_000_000, 1_000_000, 400_000) == pytest.approx(6 + 0.4 + 100)


_TOKENS = st.tuples(*[st.integers(0, 10**9)] * 3).map(lambda counts: (counts[0], counts[1], min(counts[0], counts[2])))


@given(st.lists(_TOKENS), st.floats(0, 1), st.tuples(*[st.floats(0, 1e6)] * 3))
def test_the_parts_of_a_run_cost_what_the_run_costs_and_what_is_saved_is_the_rest(parts, discount, price):
    prices = Prices({"m": Price(*price)}, batch_discount=discount)
    live_price = [prices.by_model["m"].of(*part) for part in parts]
    whole = prices.by_model["m"].of(*map(sum, zip(*parts, strict=True))) if parts else 0
    assert sum(live_price) == pytest.approx(whole)
    assert sum(map(prices.in_batch, live_price)) == pytest.approx(prices.in_batch(whole))
    assert 0 <= prices.in_batch(whole) <= whole


@pytest.mark.parametrize(
    ("cost", "currency", "words"),
    [
        (12_345.6, "VND", "12,346 VND"), (0.2, "VND", "0 VND"), (1.256, "USD", "1.26 USD"),
        (0.0031, "USD", "0.0031 USD"), (0, "USD", "0.00 USD"),
    ],
)  # fmt: skip
def test_money_is_written_as_its_currency_is(cost, currency, words):
    assert amount(cost, currency) == words
