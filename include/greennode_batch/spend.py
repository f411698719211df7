"""Spend: what a run may cost, before anything is paid. An estimate, and called one.

Tokens are estimated from the length of the texts; prices are the caller's, for GreenNode publishes no price list
of batches. Its article on batch inference says "50% cheaper": that is the discount, unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from greennode_batch.errors import ConfigError

BATCH_DISCOUNT = 0.5
_CHARACTERS_PER_TOKEN = 4
# Beyond ASCII a character is more tokens: about one for Chinese, Japanese and Korean, a token for every two or
# three letters of Vietnamese. The bytes that UTF-8 needs above one a character say how far beyond.
_TOKENS_PER_EXTRA_BYTE = 0.4
_MILLION = 1_000_000


class Price(msgspec.Struct, frozen=True):
    """The real-time list price of one model, per million tokens, in any currency."""

    prompt: float
    completion: float


class Prices(msgspec.Struct, frozen=True):
    """A price table: by model id, with the currency it is in and the share taken off in a batch (0..1)."""

    by_model: Mapping[str, Price]
    currency: str = "VND"
    batch_discount: float = BATCH_DISCOUNT


class Estimate(msgspec.Struct, frozen=True):
    """What a run may take. `completion_tokens` and `cost` are None where nothing bounds them or no price is known."""

    prompt_tokens: int
    completion_tokens: int | None
    cost: float | None
    currency: str

    def __str__(self) -> str:
        completion = "?" if self.completion_tokens is None else f"{self.completion_tokens:,}"
        cost = "no price known" if self.cost is None else f"about {self.cost:,.0f} {self.currency}"
        return f"estimate: {self.prompt_tokens:,} prompt and up to {completion} completion tokens, {cost}"


def estimate_tokens(characters: int, utf8_bytes: int) -> int:
    """Tokens of texts with so many characters and UTF-8 bytes in all: a rule of thumb, not a tokenizer."""
    return round(characters / _CHARACTERS_PER_TOKEN + (utf8_bytes - characters) * _TOKENS_PER_EXTRA_BYTE)


def estimate(
    prompt_tokens: Mapping[str, int], requests: Mapping[str, int], max_tokens: int | None, prices: Prices
) -> Estimate:
    """The estimate for a run. prompt_tokens, requests: by model. max_tokens: what an answer can have at most."""
    completion = {model: count * max_tokens for model, count in requests.items()} if max_tokens else None
    cost = None
    if completion is not None and all(model in prices.by_model for model in requests):
        cost = sum(_cost(prompt_tokens[model], completion[model], prices.by_model[model]) for model in requests) * (
            1 - prices.batch_discount
        )
    return Estimate(
        prompt_tokens=sum(prompt_tokens.values()),
        completion_tokens=sum(completion.values()) if completion is not None else None,
        cost=cost,
        currency=prices.currency,
    )


def _cost(prompt_tokens: int, completion_tokens: int, price: Price) -> float:
    return (prompt_tokens * price.prompt + completion_tokens * price.completion) / _MILLION


def read_prices(table: Mapping[str, Any]) -> Prices:
    """A price table as people write it: `{"MODEL": [prompt, completion], "currency": "VND", "batch_discount": 0.5}`.

    Raises ConfigError, naming the entry that is not a price.
    """
    entries = dict(table)
    try:
        currency = msgspec.convert(entries.pop("currency", "VND"), str)
        discount = msgspec.convert(entries.pop("batch_discount", BATCH_DISCOUNT), float)
    except msgspec.ValidationError as error:
        raise ConfigError(f"prices: currency is a text and batch_discount a number from 0 to 1 ({error})") from None
    by_model = {}
    for model, pair in entries.items():
        try:
            by_model[model] = Price(*msgspec.convert(pair, tuple[float, float], strict=False))
        except msgspec.ValidationError:
            raise ConfigError(
                f"prices: {model!r} must be [prompt, completion], each per million tokens, not {pair!r}"
            ) from None
    return Prices(by_model=by_model, currency=currency, batch_discount=discount)
