"""NoCredit: no_credit.json, the shard of a run that the API refused because the account has no credit."""

from __future__ import annotations

from greennode_batch.state.document import Document


class NoCredit(Document, frozen=True):
    """no_credit.json: the API refused a shard of the run because the account has no credit."""

    shard_id: str
    words: str
    """The API's message."""
