"""ActualCost: tokens and cost of what was answered, as the report has them."""

from __future__ import annotations

import msgspec

from greennode_batch.state.document import Document

TOKEN_COLUMNS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


class ActualCost(msgspec.Struct, frozen=True, kw_only=True):
    """cached_tokens are among the prompt's, reasoning_tokens among the completion's.

    cost: None where no price is known. saving: what the same would have cost more live.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = 0.0
    saving: float | None = 0.0


class ShardCost(ActualCost, frozen=True, kw_only=True):
    """What one batch has used. counted: the requests of which the server said what they used."""

    attempt: int
    shard_id: str
    model: str
    batch_id: str | None
    requests: int
    counted: int


class CostByShard(Document, frozen=True):
    """spend.json: what each shard of a run has used."""

    shards: tuple[ShardCost, ...]


class ModelCost(ActualCost, frozen=True, kw_only=True):
    """What one model was asked and has used in all attempts. statuses: of its rows."""

    model: str
    requests: int
    statuses: dict[str, int]


class CanaryCost(ActualCost, frozen=True, kw_only=True):
    """What the first requests have used, which were tried live, at the full price."""

    requests: int


class AttemptReport(ActualCost, frozen=True, kw_only=True):
    """What one attempt sent and got. Tokens are counted once a request and attempt, as they are paid."""

    attempt: int
    shards: int
    requests: int
    statuses: dict[str, int]
