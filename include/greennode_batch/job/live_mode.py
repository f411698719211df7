"""Live: which requests of a job are answered live, one by one and at the full price, instead of in a batch."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from greennode_batch.errors import ConfigError
from greennode_batch.job.declaration import Declaration

TRY_ROWS = 10
"""How many rows a try asks, unless a person says otherwise."""
MOST_TRY_ROWS = 200
"""The most rows that a try in Airflow asks: its page is held in memory, and each row costs the full price."""


@dataclass(frozen=True, kw_only=True)
class Live(Declaration):
    """When a job's requests are answered live. A live answer comes within seconds and costs the full price.

    `Budget(max_live_cost=…)` limits what that may cost. Raises ConfigError for options that contradict each other.
    """

    what: ClassVar[str] = "live"

    under: Annotated[int, Field(ge=0), "a count of requests, 0 (none) or more"] = 0
    """An attempt that sends fewer requests than this is answered live at once.

    This includes later attempts, which often send only a few.
    """

    finish_by: Annotated[timedelta | None, "a timedelta, such as timedelta(hours=6), or left out"] = None
    """How long after its build a run may take.

    Batches are cancelled early enough for the rest to be answered live in time. A row is answered live only once its
    batch has ended, so no row is paid for twice. Needs at least two attempts.
    """

    only: Annotated[bool, "True or False"] = False
    """Whether every request is answered live: for a server without batches, such as Ollama or vLLM."""

    pay_twice: Annotated[bool, "True or False"] = False
    """Whether `finish_by` also answers the rows of a batch that was cancelled and does not end.

    Such a batch may still be billed, so these rows may be paid for twice. Without this they end as expired.
    """

    def __post_init__(self) -> None:
        """Raise ConfigError for options that contradict each other."""
        if self.finish_by is not None and self.finish_by <= timedelta(0):
            raise ConfigError(f"live: finish_by is {self.finish_by}; give the time that a run may take")
        if self.pay_twice and self.finish_by is None:
            raise ConfigError("live: pay_twice is about batches that are cancelled for finish_by; give finish_by too")

    def answers_at_once(self, requests: int) -> bool:
        """Whether an attempt of so many requests is answered live without a batch."""
        return self.only or requests < self.under
