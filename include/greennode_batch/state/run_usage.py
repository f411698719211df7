"""Run usage: .usage.json, what the runs of a job have used, for the estimates of later ones."""

from __future__ import annotations

import msgspec

from greennode_batch.state.document import Document


class RunUsage(msgspec.Struct, frozen=True):
    """What the requests of one run to one model have used, as far as the server said.

    estimated_prompt_tokens: what theirs were taken for when the run was built, by the length of the texts or, if
    `is_counted`, by the job's tokenizer.
    """

    run_id: str
    model: str
    prompt_hash: str
    is_counted: bool
    requests: int
    estimated_prompt_tokens: float
    prompt_tokens: int
    completion_tokens: int


class UsageHistory(Document, frozen=True):
    """.usage.json: what the latest runs of a job have used, of each model."""

    runs: tuple[RunUsage, ...]
