"""Estimate: what a run may cost, as plan.json keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from greennode_batch.job.prices import amount

T = TypeVar("T", int, float)


class Usage(msgspec.Struct, frozen=True):
    """What earlier requests to one model used."""

    requests: int
    estimated_prompt_tokens: float
    """The estimate of their prompt tokens before they were sent."""
    prompt_tokens: int
    completion_tokens: int
    basis: str
    """Which requests these were, in words."""


class Estimate(msgspec.Struct, frozen=True):
    """What a run may use and cost, if each of its requests is sent once in a batch. None: unknown."""

    prompt_tokens: int
    completion_tokens: int | None
    """The likely number."""
    max_completion_tokens: int | None
    """The most that the answers may have; None if one of them has no limit."""
    cost: float | None
    """The likely cost."""
    max_cost: float | None
    """The cost with `max_completion_tokens`."""
    currency: str
    basis: str
    """What the estimate is based on, in words."""
    seen_requests: int = 0
    """How many answered requests it is based on; 0 for none."""
    unpriced: tuple[str, ...] = ()
    """The models without a price."""
    by_model: dict[str, Estimate] = {}
    """The estimate of each model."""
    live_cost: float | None = None
    """The likely cost if each request is answered live; None also in a plan of an earlier version."""

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
            return f"no price known for {', '.join(self.unpriced)}"
        if self.cost is None:
            return "so the cost is unknown"
        most = "" if self.max_cost in {None, self.cost} else f" (at most {amount(self.max_cost or 0.0, self.currency)})"
        live = "" if self.live_cost is None else f"; live about {amount(self.live_cost, self.currency)}"
        return f"about {amount(self.cost, self.currency)}{most}{live}"


def total(numbers: Iterable[T | None]) -> T | None:
    """The sum of the numbers; None if one of them is None."""
    total: T = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
