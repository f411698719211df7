"""Estimate: what a run may cost, as plan.json has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from greennode_batch.job.prices import amount

T = TypeVar("T", int, float)


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


def total(numbers: Iterable[T | None]) -> T | None:
    """The sum, which is not known where one of them is not."""
    total: T = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
