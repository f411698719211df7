"""ActualCost: the tokens and cost of answered requests, as the report keeps them."""

from __future__ import annotations

import msgspec

from greennode_batch.state.document import Document

TOKEN_COLUMNS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


class ActualCost(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of some requests and what they cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that the server had cached; `prompt_tokens` includes them."""
    reasoning_tokens: int = 0
    """Tokens that the model used for reasoning; `completion_tokens` includes them."""
    cost: float | None = 0.0
    """None if no price is known."""
    saving: float | None = 0.0
    """How much more the same tokens would have cost live."""


class ShardCost(ActualCost, frozen=True, kw_only=True):
    """What one shard used."""

    attempt: int
    shard_id: str
    model: str
    batch_id: str | None
    """`live` if the shard was answered live."""
    requests: int
    counted: int
    """The requests whose usage the server reported."""


class CostByShard(Document, frozen=True):
    """spend.json: what each shard of a run used."""

    shards: tuple[ShardCost, ...]


class ModelCost(ActualCost, frozen=True, kw_only=True):
    """The requests to one model and what they used, over all attempts."""

    model: str
    requests: int
    statuses: dict[str, int]
    """The model's rows by status."""


class CanaryCost(ActualCost, frozen=True, kw_only=True):
    """What the canaries used: the first requests, which are tried live, at the full price."""

    requests: int


class LiveCost(ActualCost, frozen=True, kw_only=True):
    """What the requests used that were answered live, at the full price."""

    requests: int
    may_be_paid_twice: int
    """How many requests at most may have been billed more than once: replies that were lost, workers that stopped."""


class AttemptReport(ActualCost, frozen=True, kw_only=True):
    """What one attempt sent and received. Tokens count once per request and attempt, as they are paid for."""

    attempt: int
    shards: int
    requests: int
    statuses: dict[str, int]
