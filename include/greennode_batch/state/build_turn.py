"""Build turn: of two builds of one run, the one that began last stands."""

from __future__ import annotations

from greennode_batch.state.document import Document


class BuildTurn(Document, frozen=True):
    """building.json: the build of a run that began last. began_at: epoch seconds."""

    token: str
    began_at: float
