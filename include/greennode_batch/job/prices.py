"""Prices: what a model's tokens cost. The user declares them, because GreenNode publishes no price list of batches.

A table holds real-time list prices. GreenNode's article on batch inference says "50% cheaper", which is the default
discount of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from greennode_batch.errors import ConfigError

BATCH_DISCOUNT = 0.5
_CURRENCY = "VND"
_MILLION = 1_000_000
# Currencies that are not paid in fractions.
_WITHOUT_DECIMALS = frozenset({"VND", "JPY", "KRW"})
_SETTINGS = ("currency", "batch_discount")
_WAYS = "[prompt, completion], [prompt, completion, cached] or an object of these names"


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The real-time list price of one model, per million tokens, in any currency."""

    prompt: float
    completion: float
    cached: float | None = None
    """The price of prompt tokens that the server has cached; None if they cost as much as others."""

    def __post_init__(self) -> None:
        """Raise ValueError for a negative or infinite price."""
        if not all(0 <= price < math.inf for price in (self.prompt, self.completion, self.cached or 0)):
            raise ValueError("a price is 0 or more")

    def of(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """What tokens cost live. `prompt_tokens` includes `cached_tokens`."""
        cached = 0.0
        if self.cached is not None:
            cached_tokens = min(cached_tokens, prompt_tokens)
            prompt_tokens -= cached_tokens
            cached = cached_tokens * self.cached
        return (prompt_tokens * self.prompt + cached + completion_tokens * self.completion) / _MILLION


class Prices(msgspec.Struct, frozen=True):
    """A price table."""

    by_model: Mapping[str, Price]
    """Prices by model id."""
    currency: str = _CURRENCY
    batch_discount: float = BATCH_DISCOUNT
    """The share that a batch takes off the live price, from 0 to 1."""

    def in_batch(self, live_price: float) -> float:
        """The cost in a batch of what costs `live_price` live."""
        return live_price * (1 - self.batch_discount)


def read_prices(*tables: Mapping[str, Any]) -> Prices:
    """Read price tables as users write them: `{"MODEL": [prompt, completion], "currency": "VND"}`.

    A price is per million tokens: a list of prompt, completion and optionally cached, or an object with these names.
    A table may also set `batch_discount`. A later table's entry wins over the same entry of an earlier one; prices of
    an earlier table in another currency are dropped. Raises ConfigError, which names the wrong entry.
    """
    entries: dict[str, Any] = {}
    for table in tables:
        if "currency" in table and table["currency"] != entries.get("currency", _CURRENCY):
            entries = {name: value for name, value in entries.items() if name in _SETTINGS}
        entries |= table
    try:
        currency = msgspec.convert(entries.pop("currency", _CURRENCY), str)
        discount = msgspec.convert(entries.pop("batch_discount", BATCH_DISCOUNT), float)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"prices: currency must be a text and batch_discount a number from 0 to 1 ({error})"
        ) from None
    if not 0 <= discount <= 1:
        raise ConfigError(f"prices: batch_discount is {discount}; give the share that a batch takes off, from 0 to 1")
    by_model = {model: _price(model, said) for model, said in entries.items()}
    return Prices(by_model=by_model, currency=currency, batch_discount=discount)


def _price(model: str, said: Any) -> Price:
    fields = Price.__struct_fields__
    named = said
    if isinstance(said, list | tuple) and len(said) <= len(fields):
        named = dict(zip(fields, said, strict=False))
    try:
        return msgspec.convert(named, Price, strict=False)
    except msgspec.ValidationError:
        raise ConfigError(
            f"prices: {model!r} must be {_WAYS}, each per million tokens and 0 or more, not {said!r}"
        ) from None


def amount(cost: float, currency: str) -> str:
    """Format a sum of money: `12,345 VND`, `1.25 USD`, `0.0031 USD`."""
    decimals = 0 if currency in _WITHOUT_DECIMALS else 2 if cost >= 1 or not cost else 4
    return f"{cost:,.{decimals}f} {currency}"
