"""Stage: a small table and its job, a fast clock, and what a run leaves behind."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from pydantic import BaseModel

from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.source.rows import Rows
from greennode_faults.case import Case

FINISH_BY = timedelta(minutes=6)
"""How long a run of `faults_finish_by` may take. A tenth of it is for the cancel, a third for the starts of tasks."""
MODEL = "google/gemma-4-31b-it"
ROWS = 40
# A few rows ask the same as others, and one asks nothing.
_DISTINCT = 35
_EMPTY = 17


class Label(BaseModel):
    """What each row is asked for."""

    kind: Literal["question", "praise", "complaint"]
    urgency: int
    words: str


class FastClock:
    """A clock on which a wait of a second takes 10 ms, and none takes more than 30; work takes its real time.

    So a create, which has 45 seconds, is over (after half a real second here) before its settle time is, and yet an
    hour passes in seconds.
    """

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        """Epoch seconds, ahead of the wall clock by the time slept."""
        return time.time() + self._ahead

    def sleep(self, seconds: float) -> None:
        """Pass the time."""
        real = min(seconds, 3.0) / 100
        time.sleep(real)
        self._ahead += seconds - real


def source_rows() -> list[tuple[int, str]]:
    """The table: id and text."""
    return [
        (n, "" if n == _EMPTY else f'Ticket {n % _DISTINCT}: trả lời\u2028giúp, 返信 — "now"\\') for n in range(ROWS)
    ]


def open_source() -> Rows:
    """The table as the engine reads it."""
    return Rows.from_tuples(("id", "text"), iter([source_rows()]))


def make_job(out: Path, changes: Mapping[str, Any]) -> BatchJob:
    """The job over the table: three shards, and nothing tried beforehand."""
    defaults: dict[str, Any] = {
        "name": "faults",
        "source": FileSource(path="rows"),
        "target": FileTarget(path=str(out)),
        "key": "id",
        "model": MODEL,
        "prompt": "{{ text }}",
        "answer": Label,
        "params": {"max_tokens": 300},
        "canary": 0,
        "max_failed_ratio": 1.0,
        "max_shard_requests": 13,
        "attempts": 2,
    }
    return BatchJob(**{**defaults, **changes})


class RowOut(BaseModel):
    """One row of the target, with the columns that matter here."""

    id: int
    status: str
    custom_id: str | None
    answer: tuple[Any, ...]


def rows_out(out: Path) -> list[RowOut]:
    """The target's rows; none if it was not written."""
    if not out.exists():
        return []
    return [
        RowOut(
            id=row["id"],
            status=row["status"],
            custom_id=row["custom_id"],
            answer=tuple(row[name] for name in Label.model_fields),
        )
        for row in pq.read_table(out).to_pylist()
    ]


Answers = Mapping[int, tuple[Any, ...]]
"""The answers of an undisturbed run, by key."""
Ledger = Mapping[str, Any]


def problems_of(rows: list[RowOut], ledger: Ledger, wanted: Answers, case: Case) -> list[str]:
    """What a run did wrong to rows and money, in words."""
    problems = []
    if sorted(row.id for row in rows) != list(range(ROWS)):
        problems.append(f"rows lost or doubled: {len(rows)} of {ROWS}")
    asked = {row.custom_id: row for row in rows if row.custom_id is not None}
    seen = {row.status for row in asked.values()}
    if not seen <= case.statuses or (case.all_seen and seen != case.statuses):
        problems.append(f"rows ended as {', '.join(sorted(seen))}")
    if any(row.status == "succeeded" and row.answer != wanted[row.id] for row in rows):
        problems.append("a row has another answer than without the fault")
    twice = [one for one, times in ledger["requests"].items() if times - ledger["wasted"].get(one, 0) > 1]
    if twice:
        problems.append(f"{len(twice)} answers paid for twice")
    # Answered and billed: the row must have what was paid for, even if that is only a status.
    bought = {one for one, times in ledger["requests"].items() if times > ledger["wasted"].get(one, 0)}
    lost = [one for one in bought if one in asked and asked[one].status not in _ANSWERED]
    if lost and not case.withheld:
        problems.append(f"{len(lost)} answers paid for and not in the target")
    strangers = bought - asked.keys()
    if strangers:
        problems.append(f"{len(strangers)} answers paid for that no row asks for")
    return problems


_ANSWERED: frozenset[Literal["succeeded", "truncated", "refused"]] = frozenset({"succeeded", "truncated", "refused"})


def with_live_answers(ledger: Ledger) -> Ledger:
    """The ledger with live answers counted among those of batches: each request is to be paid once in all."""
    requests: Counter[str] = Counter(ledger["requests"])
    requests.update(ledger["chat_requests"])
    billed = ledger["requests_billed"] + ledger["chat_requests_billed"]
    return {**ledger, "requests": dict(requests), "requests_billed": billed}


def needed(ledger: Ledger) -> int:
    """What had to be paid: one usable answer for each request that has one, and what the server wasted."""
    requests, wasted = ledger["requests"], ledger["wasted"]
    return sum(wasted.get(one, 0) + (times > wasted.get(one, 0)) for one, times in requests.items())
