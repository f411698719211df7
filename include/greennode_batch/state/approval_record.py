"""Approval: approval.json, a person's answer to a run's estimate."""

from __future__ import annotations

from datetime import UTC, datetime

from greennode_batch.errors import BudgetError
from greennode_batch.job.prices import amount
from greennode_batch.staging.folders import RunFolder, read_json
from greennode_batch.state.document import Document


class Approval(Document, frozen=True):
    """approval.json: the estimate that a person was shown, and their answer."""

    cost: float
    """The estimate that they saw."""
    currency: str
    approved: bool | None = None
    """None until somebody answers."""
    by: str = ""
    at: float = 0.0
    """When they answered, in epoch seconds."""

    def __str__(self) -> str:
        said = "approved" if self.approved else "rejected"
        when = datetime.fromtimestamp(self.at, UTC)
        return f"{self.by} {said} the estimated {amount(self.cost, self.currency)} on {when:%Y-%m-%d at %H:%M} UTC"


def refuse_rejected(run: RunFolder) -> None:
    """Raise BudgetError if a person has rejected the run."""
    said = read_json(run.approval, Approval)
    if said is not None and said.approved is False:
        raise BudgetError(
            f"{said}: nothing was submitted and nothing was written. To be asked again, clear approve_spend and "
            "everything downstream of it"
        )
