"""Estimate: what a run may cost, computed before anything is paid.

Prompt tokens are estimated from the length of the texts, or counted by the job's tokenizer, and then corrected by what
earlier requests actually used. Completion tokens follow those of earlier requests; without any, they are the most that
the answers may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greennode_batch.job.prices import Prices
from greennode_batch.state.cost_estimate import Estimate, Usage, total

_CHARACTERS_PER_TOKEN = 4
# A character beyond ASCII takes more tokens: about one for Chinese, Japanese and Korean; for Vietnamese, about one
# token for two or three letters. The UTF-8 bytes beyond one per character measure this.
_TOKENS_PER_EXTRA_BYTE = 0.4


_SUMMED = ("prompt_tokens", "completion_tokens", "max_completion_tokens", "cost", "max_cost", "live_cost")


def estimate_tokens(characters: int, utf8_bytes: int) -> int:
    """Estimate the tokens of texts from their characters and UTF-8 bytes. A rule of thumb, not a tokenizer."""
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
    """Estimate a run's tokens and cost.

    prompt_tokens: by model, estimated from the length of the texts or counted.
    requests: the number of requests by model.
    max_completion_tokens: by model, the most that all answers may have; None if they have no limit.
    seen: by model, what earlier requests used.
    is_counted: whether a tokenizer counted the prompt tokens.
    """
    nothing = Usage(0, 0, 0, 0, "by the job's tokenizer" if is_counted else "by the length of the texts")
    by_model: dict[str, Estimate] = {}
    for model, count in requests.items():
        if count:
            usage, most = (seen or {}).get(model, nothing), max_completion_tokens[model]
            by_model[model] = _of_model(model, prompt_tokens[model], count, most, usage, prices=prices)
    of_models = list(by_model.values())
    summed: dict[str, Any] = {name: total(getattr(one, name) for one in of_models) for name in _SUMMED}
    return Estimate(
        **summed,
        currency=prices.currency,
        basis=", ".join(dict.fromkeys(one.basis for one in of_models)) or "no request",
        seen_requests=min((one.seen_requests for one in of_models), default=0),
        unpriced=tuple(model for one in of_models for model in one.unpriced),
        by_model=by_model,
    )


def _of_model(
    model: str, prompt_tokens: int, requests: int, most: int | None, seen: Usage, *, prices: Prices
) -> Estimate:
    likely = most
    if seen.requests:
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

    live_cost = None if price is None or likely is None else price.of(prompt_tokens, likely)
    return Estimate(
        prompt_tokens=prompt_tokens,
        completion_tokens=likely,
        max_completion_tokens=most,
        cost=cost(likely),
        max_cost=cost(most),
        currency=prices.currency,
        basis=seen.basis,
        seen_requests=seen.requests,
        unpriced=(model,) if price is None else (),
        live_cost=live_cost,
    )
