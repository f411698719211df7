"""No credit: no_credit.json, the shard of a run that was refused for want of credit."""

from __future__ import annotations

from greennode_batch.state.document import Document


class NoCredit(Document, frozen=True):
    """no_credit.json: a shard of the run was refused for want of credit. words: the API's."""

    shard_id: str
    words: str
