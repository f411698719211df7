"""Token limits: the longest answer that each request allows."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from greennode_batch.source.rows import RowBatch

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
"""The names that a limit may have in a request; if both are set, the later one applies."""


class TokenLimits:
    """The limit in `params` for all rows, and the column of `row_params` that overrides it for some."""

    def __init__(self, params: Mapping[str, Any], row_params: Mapping[str, str]) -> None:
        self._of_all: int | None = None
        self._column: str | None = None
        for name in TOKEN_LIMITS:
            self._of_all = _limit(params[name]) if name in params else self._of_all
            self._column = row_params.get(name, self._column)

    def of_rows(self, batch: RowBatch) -> list[int | None]:
        """The limit of each row; None if there is none, or if it is not a valid number."""
        if self._column is None:
            return [self._of_all] * len(batch)
        return [self._of_all if value is None else _limit(value) for value in batch.values(self._column)]


def _limit(value: Any) -> int | None:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return int(value) if is_number and value >= 1 else None
