"""Budget: what a run may cost at most, and from where on a person is asked first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from greennode_batch.errors import ConfigError
from greennode_batch.job.prices import read_prices


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of one run of a job; None is no limit. Costs are in the currency of the price table.

    max_cost: a run whose estimate is higher is not sent; requests are not asked again where that would go over it. It
    is held against an estimate, so that what is paid in the end may be more. approve_over: a run whose estimate is
    higher waits for a person's yes in Airflow's UI. max_rows: a source that has more is an error. Raises ConfigError
    for limits that cannot be.
    """

    max_cost: float | None = None
    approve_over: float | None = None
    max_rows: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        for name, kinds, words in (
            ("max_cost", (int, float), "a sum of money"),
            ("approve_over", (int, float), "a sum of money"),
            ("max_rows", (int,), "a count of rows"),
        ):
            limit = getattr(self, name)
            if limit is None:
                continue
            if not isinstance(limit, kinds) or isinstance(limit, bool) or not 0 <= limit < math.inf:
                raise ConfigError(f"budget: {name} is {limit!r}; it is {words}, 0 or more, or left out")
        if self.max_cost is not None and self.approve_over is not None and self.approve_over > self.max_cost:
            raise ConfigError(
                f"budget: approve_over ({self.approve_over:,}) is more than max_cost ({self.max_cost:,}), and what is "
                "over max_cost nobody can approve; lower the one or raise the other"
            )

    @property
    def is_of_money(self) -> bool:
        """Whether what a run costs must be known before it is sent."""
        return self.max_cost is not None or self.approve_over is not None


def check_spending(job: str, budget: object, prices: object) -> None:
    """Raise ConfigError for what is no budget or no price table. job: its name."""
    if not isinstance(budget, Budget | None):
        raise ConfigError(f"job {job}: budget is {budget!r}; it is Budget(max_cost=…), or left out")
    if not isinstance(prices, Mapping | None):
        raise ConfigError(f'job {job}: prices is {prices!r}; it is {{"MODEL": [prompt, completion]}}, or left out')
    try:
        read_prices(prices or {})
    except ConfigError as error:
        raise ConfigError(f"job {job}: {error}") from None
