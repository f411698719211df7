"""Budget: what a run may cost, and the cost above which a person must approve it."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from greennode_batch.errors import ConfigError
from greennode_batch.job.declaration import Declaration

_Money = Annotated[int | float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Budget(Declaration):
    """Limits on one run of a job. None means no limit. Costs are in the currency of the price table.

    Raises ConfigError for limits that are not valid.
    """

    what: ClassVar[str] = "budget"

    max_cost: Annotated[_Money | None, "a sum of money, 0 or more, or left out"] = None
    """The most that a run may cost. A run whose estimate is higher is not sent.

    Requests are not sent again if that would exceed it. The limit applies to estimates, so the actual cost may be
    higher.
    """

    approve_over: Annotated[_Money | None, "a sum of money, 0 or more, or left out"] = None
    """A run whose estimate is higher waits for a person to approve it in Airflow's UI."""

    max_rows: Annotated[int | None, Field(ge=0), "a count of rows, 0 or more, or left out"] = None
    """The most rows that the source may have. More rows are an error."""

    max_live_cost: Annotated[_Money | None, "a sum of money, 0 or more, or left out"] = None
    """The most that a run's live answers may cost, if the job has `live`.

    Requests that would exceed it are sent in a batch instead. If the server has no batches, they are not sent.
    """

    def __post_init__(self) -> None:
        """Raise ConfigError for limits that contradict each other."""
        if self.max_cost is not None and self.approve_over is not None and self.approve_over > self.max_cost:
            raise ConfigError(
                f"budget: approve_over ({self.approve_over:,}) is more than max_cost ({self.max_cost:,}). Nobody can "
                "approve a run over max_cost; lower approve_over or raise max_cost"
            )

    @property
    def is_of_money(self) -> bool:
        """Whether a limit on cost applies, so the cost must be known before a run is sent."""
        return any(limit is not None for limit in (self.max_cost, self.approve_over, self.max_live_cost))

    def unattended(self) -> Budget:
        """The same budget where nobody can be asked: a run over `approve_over` is refused."""
        if self.approve_over is None:
            return self
        return dataclasses.replace(self, max_cost=self.approve_over, approve_over=None)
