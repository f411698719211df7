"""Budget: what a run may cost at most, and from where on a person is asked first."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from greennode_batch.errors import ConfigError
from greennode_batch.job.declaration import Declaration

_Money = Annotated[int | float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Budget(Declaration):
    """The limits of one run of a job; None is no limit. Costs are in the currency of the price table.

    max_cost: a run whose estimate is higher is not sent; requests are not asked again where that would go over it. It
    is held against an estimate, so that what is paid in the end may be more. approve_over: a run whose estimate is
    higher waits for a person's yes in Airflow's UI. max_rows: a source that has more is an error. Raises ConfigError
    for limits that cannot be.
    """

    what: ClassVar[str] = "budget"

    max_cost: Annotated[_Money | None, "a sum of money, 0 or more, or left out"] = None
    approve_over: Annotated[_Money | None, "a sum of money, 0 or more, or left out"] = None
    max_rows: Annotated[int | None, Field(ge=0), "a count of rows, 0 or more, or left out"] = None

    def __post_init__(self) -> None:
        """Refuse limits that do not go together."""
        if self.max_cost is not None and self.approve_over is not None and self.approve_over > self.max_cost:
            raise ConfigError(
                f"budget: approve_over ({self.approve_over:,}) is more than max_cost ({self.max_cost:,}), and what is "
                "over max_cost nobody can approve; lower the one or raise the other"
            )

    @property
    def is_of_money(self) -> bool:
        """Whether what a run costs must be known before it is sent."""
        return self.max_cost is not None or self.approve_over is not None
