"""Row owner: whose a row of a target is, and which of two runs may write over the other's rows."""

from __future__ import annotations

import datetime
from typing import NamedTuple


class RowOwner(NamedTuple):
    """What a run writes beside each of its rows.

    job_id: the job's identity. order: when its data ends, then when it was built (see `run_order`): of two runs that
    write one row, the later one stands. None where that is not known, as in rows of an earlier version.
    """

    run_id: str
    job_id: str | None = None
    order: str | None = None


def run_order(data_until: float | None, built_at: float) -> str:
    """A text that sorts as runs do: by the end of their data, else by their build; then by their build.

    data_until, built_at: epoch seconds.
    """
    return f"{_text(built_at if data_until is None else data_until)} {_text(built_at)}"


def _text(epoch_seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(epoch_seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
