"""Outcomes as a table to read, and as JSON to compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from greennode_faults.case import Outcome

COLUMNS = ("group", "fault", "rows in", "rows out", "needed", "billed", "starts", "verdict")
_WIDTHS = (9, 58, 7, 8, 6, 6, 6, 0)


def heading() -> str:
    """The first two lines."""
    return f"{_line(COLUMNS)}\n{_line(['-' * len(name) for name in COLUMNS])}"


def line(outcome: Outcome) -> str:
    """One outcome on one line."""
    return _line(
        [
            outcome.case.group,
            outcome.case.name,
            outcome.rows_in,
            outcome.rows_out,
            outcome.needed,
            outcome.billed,
            outcome.starts,
            outcome.result,
        ]
    )


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One outcome as data."""
    return {
        "group": outcome.case.group,
        "fault": outcome.case.name,
        "faults": [dict(fault) for fault in outcome.case.faults],
        "rows_in": outcome.rows_in,
        "rows_out": outcome.rows_out,
        "requests_needed": outcome.needed,
        "requests_billed": outcome.billed,
        "statuses": dict(outcome.statuses),
        "starts": outcome.starts,
        "seconds": round(outcome.seconds, 3),
        "verdict": outcome.result,
    }


def _line(cells: Iterable[object]) -> str:
    texts = []
    for cell, width in zip(map(str, cells), _WIDTHS, strict=True):
        shown = cell if not width or len(cell) <= width else f"{cell[: width - 1]}…"
        texts.append(shown.rjust(width) if cell.isdigit() else shown.ljust(width))
    return "  ".join(texts).rstrip()
