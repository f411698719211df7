"""Usage history: .usage.json, what earlier runs of a job used, from which later runs are estimated."""

from __future__ import annotations

import msgspec

from greennode_batch.state.document import Document


class RunUsage(msgspec.Struct, frozen=True):
    """What one run's requests to one model used, according to the server."""

    run_id: str
    model: str
    prompt_hash: str
    is_counted: bool
    """Whether the job's tokenizer made the estimate; otherwise it goes by the length of the texts."""
    requests: int
    """The requests whose usage the server reported."""
    estimated_prompt_tokens: float
    """The estimate of their prompt tokens when the run was built."""
    prompt_tokens: int
    completion_tokens: int


class UsageHistory(Document, frozen=True):
    """.usage.json: what the latest runs of a job used, by model."""

    runs: tuple[RunUsage, ...]
