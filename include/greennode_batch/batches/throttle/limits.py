"""Limits: how much a connection may have at the server at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from greennode_batch.errors import ConfigError
from greennode_batch.wording import given_by


class Limits(msgspec.Struct, frozen=True):
    """None: no limit.

    max_batches_in_flight: batches that have not ended. max_enqueued_tokens: the estimated prompt tokens of their
    requests; a shard with more than that is sent alone.
    """

    max_batches_in_flight: int | None = None
    max_enqueued_tokens: int | None = None

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return self.max_batches_in_flight is not None or self.max_enqueued_tokens is not None

    def __str__(self) -> str:
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        return ", ".join(f"{name} {limit:,}" for name, limit in said.items() if limit is not None)

    def allow(self, others: Sequence[int], tokens: int) -> bool:
        """Whether a shard with so many tokens may be sent beside others, with so many each."""
        if self.max_batches_in_flight is not None and len(others) >= self.max_batches_in_flight:
            return False
        return self.max_enqueued_tokens is None or not others or sum(others) + tokens <= self.max_enqueued_tokens


def read_limits(said: Mapping[str, Any], *, where: str = "") -> Limits:
    """The limits among some fields; an empty field means no limit. where: whose fields they are, for the error.

    Raises ConfigError for a value that is not a whole number, or less than 1.
    """
    prefix = f"{where}: " if where else ""
    return Limits(**{name: _limit(said.get(name), f"{prefix}{given_by(name)}") for name in Limits.__struct_fields__})


def _limit(said: Any, what: str) -> int | None:
    if said is None or said == "":
        return None
    try:
        limit = msgspec.convert(said, int, strict=False)
    except msgspec.ValidationError:
        limit = 0
    if limit < 1:
        raise ConfigError(f"{what} is {said!r}; it is a whole number, 1 or more, or left empty for no limit")
    return limit
