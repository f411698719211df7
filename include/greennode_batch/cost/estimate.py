"""Spend: what a run may cost, before anything is paid. An estimate, and called one.

Tokens of prompts are estimated from the length of the texts, or counted by the job's tokenizer, and corrected by what
earlier requests really had; those of answers by what earlier ones had, else by what they may have at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from greennode_batch.job.prices import Prices, amount

T = TypeVar("T", int, float)

_CHARACTERS_PER_TOKEN = 4
# Beyond ASCII a character is more tokens: about one for Chinese, Japanese and Korean, a token for every two or
# three letters of Vietnamese. The bytes that UTF-8 needs above one a character say how far beyond.
_TOKENS_PER_EXTRA_BYTE = 0.4


class Usage(msgspec.Struct, frozen=True):
    """What requests to one model have used. estimated_prompt_tokens: what theirs were taken for before.

    basis: which requests these were, in words.
    """

    requests: int
    estimated_prompt_tokens: float
    prompt_tokens: int
    completion_tokens: int
    basis: str


class Estimate(msgspec.Struct, frozen=True):
    """What a run may take, if each of its requests is asked once in a batch.

    completion_tokens, cost: what is likely; max_completion_tokens, max_cost: at most, as far as the answers have a
    limit. None where it cannot be told. basis: what the estimate goes by; seen_requests: how many requests that were
    answered before, 0 for none. unpriced: the models that have no price. by_model: the same for each model.
    """

    prompt_tokens: int
    completion_tokens: int | None
    max_completion_tokens: int | None
    cost: float | None
    max_cost: float | None
    currency: str
    basis: str
    seen_requests: int = 0
    unpriced: tuple[str, ...] = ()
    by_model: dict[str, Estimate] = {}

    def __str__(self) -> str:
        return f"estimate: {self.prompt_tokens:,} prompt and {self._completion}, {self._money} ({self.basis})"

    @property
    def _completion(self) -> str:
        likely, most = self.completion_tokens, self.max_completion_tokens
        if likely is None:
            return "an unknown number of completion tokens"
        if likely == most:
            return f"up to {likely:,} completion tokens"
        bound = "" if most is None else f" (at most {most:,})"
        return f"about {likely:,} completion tokens{bound}"

    @property
    def _money(self) -> str:
        if self.unpriced:
            return f"no price known of {', '.join(self.unpriced)}"
        if self.cost is None:
            return "so no cost can be told"
        if self.max_cost is None or self.max_cost == self.cost:
            return f"about {amount(self.cost, self.currency)}"
        return f"about {amount(self.cost, self.currency)} (at most {amount(self.max_cost, self.currency)})"


def estimate_tokens(characters: int, utf8_bytes: int) -> int:
    """Tokens of texts with so many characters and UTF-8 bytes in all: a rule of thumb, not a tokenizer."""
    return round(characters / _CHARACTERS_PER_TOKEN + (utf8_bytes - characters) * _TOKENS_PER_EXTRA_BYTE)


def estimate(
    prompt_tokens: Mapping[str, int],
    requests: Mapping[str, int],
    max_completion_tokens: Mapping[str, int | None],
    prices: Prices,
    seen: Mapping[str, Usage] | None = None,
    *,
    is_counted: bool = False,
) -> Estimate:
    """The estimate for a run. prompt_tokens, requests: by model, the tokens by the length of the texts.

    max_completion_tokens: what all answers can have at most. seen: by model, what earlier requests have used.
    is_counted: a tokenizer tells the tokens, not the texts' length.
    """
    by_model = {
        model: _of_model(
            model,
            prompt_tokens[model],
            count,
            max_completion_tokens[model],
            prices=prices,
            seen=(seen or {}).get(model),
            is_counted=is_counted,
        )
        for model, count in requests.items()
        if count
    }
    of_models = list(by_model.values())
    return Estimate(
        prompt_tokens=sum(one.prompt_tokens for one in of_models),
        completion_tokens=total(one.completion_tokens for one in of_models),
        max_completion_tokens=total(one.max_completion_tokens for one in of_models),
        cost=total(one.cost for one in of_models),
        max_cost=total(one.max_cost for one in of_models),
        currency=prices.currency,
        basis=", ".join(dict.fromkeys(one.basis for one in of_models)) or "no request",
        seen_requests=min((one.seen_requests for one in of_models), default=0),
        unpriced=tuple(model for one in of_models for model in one.unpriced),
        by_model=by_model,
    )


def _of_model(
    model: str,
    prompt_tokens: int,
    requests: int,
    most: int | None,
    *,
    prices: Prices,
    seen: Usage | None,
    is_counted: bool,
) -> Estimate:
    likely, basis = most, "by the job's tokenizer" if is_counted else "by the length of the texts"
    if seen is not None and seen.requests:
        basis = seen.basis
        if seen.estimated_prompt_tokens:
            prompt_tokens = round(prompt_tokens * seen.prompt_tokens / seen.estimated_prompt_tokens)
        likely = round(requests * seen.completion_tokens / seen.requests)
        if most is not None:
            likely = min(likely, most)
    price = prices.by_model.get(model)

    def cost(completion_tokens: int | None) -> float | None:
        if price is None or completion_tokens is None:
            return None
        return prices.in_batch(price.of(prompt_tokens, completion_tokens))

    return Estimate(
        prompt_tokens=prompt_tokens,
        completion_tokens=likely,
        max_completion_tokens=most,
        cost=cost(likely),
        max_cost=cost(most),
        currency=prices.currency,
        basis=basis,
        seen_requests=seen.requests if seen else 0,
        unpriced=(model,) if price is None else (),
    )


def total(numbers: Iterable[T | None]) -> T | None:
    """The sum, which is not known where one of them is not."""
    total: T = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
