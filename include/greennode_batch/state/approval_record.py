"""Approval: approval.json, a person's answer to a run's estimate."""

from __future__ import annotations

from datetime import UTC, datetime

from greennode_batch.errors import BudgetError
from greennode_batch.job.prices import amount
from greennode_batch.staging.folders import RunFolder, read_json
from greennode_batch.state.document import Document


class Approval(Document, frozen=True):
    """approval.json: what a person was shown and has said. cost: the estimate that they saw; at: epoch seconds.

    approved: None while nobody has answered.
    """

    cost: float
    currency: str
    approved: bool | None = None
    by: str = ""
    at: float = 0.0

    def __str__(self) -> str:
        said = "approved" if self.approved else "rejected"
        when = datetime.fromtimestamp(self.at, UTC)
        return f"{self.by} {said} the estimated {amount(self.cost, self.currency)} on {when:%Y-%m-%d at %H:%M} UTC"


def refuse_rejected(run: RunFolder) -> None:
    """Raise BudgetError for a run that a person has said no to."""
    said = read_json(run.approval, Approval)
    if said is not None and said.approved is False:
        raise BudgetError(
            f"{said}: nothing was submitted and nothing was written. To ask again, clear approve_spend with all that "
            "is downstream"
        )
