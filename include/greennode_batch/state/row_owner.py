"""RowOwner: which job and run a target's row belongs to, and which of two runs may overwrite the other's rows."""

from __future__ import annotations

import datetime
from typing import NamedTuple


class RowOwner(NamedTuple):
    """The owner that a run writes into each of its rows."""

    run_id: str
    job_id: str | None = None
    """The id of the job; None if unknown, as in rows of an earlier version."""
    order: str | None = None
    """The run's place in time (see `run_order`); None if unknown. If two runs write one row, the later run wins."""


def run_order(data_until: float | None, built_at: float) -> str:
    """A text that sorts runs by the end of their data, then by the time of their build.

    A run without an end of its data sorts by its build. data_until, built_at: epoch seconds.
    """
    return f"{_text(built_at if data_until is None else data_until)} {_text(built_at)}"


def _text(epoch_seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(epoch_seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
