"""Trial: the first rows of a job are answered live, at the full price, and shown; nothing is written into its targets.

The command `greennode-batch try` shows a trial in the terminal; Airflow's trigger form (mode *try*) shows it in the log
and on a page of the run.
"""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greennode_batch.analysis.pages.template import render_page
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.batches.live_shard import Share
from greennode_batch.errors import BudgetError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.prices import Prices, amount
from greennode_batch.run import Progress, run_to_file, unseen
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import RunFolder
from greennode_batch.state.plan import read_plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.run_report import RunReport
from greennode_batch.wording import counted, given_by

_MANY_ROWS = 1000


def trial_job(job: BatchJob, *, keeps_reasoning: bool) -> BatchJob:
    """The job of a trial: every row is asked live, and once. Where a run would wait for approval, it is refused."""
    return dataclasses.replace(
        job,
        live=Live(only=True),
        attempts=1,
        canary=0,
        refresh="all",
        orphaned_rows="ignore",
        keep_reasoning=keeps_reasoning or job.keep_reasoning,
        systematic_failure_ratio=None,
        min_read_ratio=0,
        budget=job.budget and job.budget.unattended(),
    )


@dataclass(frozen=True, kw_only=True)
class TriedRow:
    """One row of a trial, as text. answer: the values of the answer's fields. problem: why there are none."""

    key: list[str]
    answer: list[str]
    problem: str
    reasoning: str
    tokens: str
    seconds: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of a trial. seconds: how long each request took, by its custom_id."""

    job: BatchJob
    report: RunReport
    prices: Prices
    answers: Sequence[Mapping[str, Any]]
    seconds: Mapping[str, float]

    @property
    def title(self) -> str:
        """What it was, in a few words."""
        return f"a try of {counted(len(self.answers), 'row')}: nothing was written"

    @property
    def rows(self) -> Iterator[TriedRow]:
        """Its rows, in the order of the source."""
        return map(self._row, self.answers)

    def _row(self, row: Mapping[str, Any]) -> TriedRow:
        answered = row["status"] == RowStatus.SUCCEEDED
        took = self.seconds.get(row["custom_id"])
        return TriedRow(
            key=[_shown(row[name]) for name in self.job.target_key],
            answer=[_shown(row[name]) for name in self.job.answer_columns],
            problem="" if answered else f"{row['status']}: {row['error']}",
            reasoning=_shown(row["reasoning"]),
            tokens=f"{row['prompt_tokens'] or 0:,} + {row['completion_tokens'] or 0:,}",
            seconds="" if took is None else f"{took:.1f}",
        )

    @property
    def summary(self) -> str:
        """Its rows, tokens, latency and cost in one line."""
        made, seconds = self.report, self.seconds.values()
        statuses = ", ".join(f"{count:,} {status}" for status, count in made.statuses.items())
        parts = [
            f"{counted(made.rows, 'row')} ({statuses})",
            f"{made.prompt_tokens:,} prompt and {made.completion_tokens:,} completion tokens",
        ]
        if seconds:
            parts.append(f"{statistics.median(seconds):.1f} s an answer, {max(seconds):.1f} s at most")
        parts.append("no price known" if made.cost is None else f"{amount(made.cost, made.currency)} live")
        return "; ".join(parts)

    def of_table(self, rows: int | None = None) -> str:
        """What the whole table would use and cost, if its rows are as these. rows: its rows; None if not counted."""
        made = self.report
        what = f"{_MANY_ROWS:,} rows like these" if rows is None else f"The whole table ({counted(rows, 'row')})"
        requests = (_MANY_ROWS if rows is None else rows) * len(self.job.models) * self.job.samples
        if not made.rows or not made.requests:
            return f"{what}: none of the first asks anything"
        share = requests / made.rows
        prompt, completion = made.prompt_tokens * share, made.completion_tokens * share
        parts = [f"{what}: about {prompt:,.0f} prompt and {completion:,.0f} completion tokens"]
        if made.cost is not None:
            live = made.cost * share
            parts.append(f"about {amount(self.prices.in_batch(live), made.currency)} in batches")
            parts.append(f"{amount(live, made.currency)} live")
        return ", ".join(parts)


def trial_table(trial: Trial, *, reasoning: bool = False) -> Table:
    """A trial as a table of text: one line a row, with its key, its answer or why there is none, tokens and seconds."""
    table = Table()
    names = [*trial.job.target_key, *trial.job.answer_columns, *(["reasoning"] if reasoning else [])]
    for name in (*names, "tokens", "seconds"):
        table.add_column(name, overflow="fold")
    for row in trial.rows:
        answer = [Text(row.problem, style="red"), *map(Text, row.answer[1:])] if row.problem else map(Text, row.answer)
        thought = [Text(row.reasoning)] if reasoning else []
        table.add_row(*map(Text, row.key), *answer, *thought, row.tokens, row.seconds)
    return table


def trial_text(trial: Trial, *, width: int = 200) -> str:
    """The table and the cost of a trial as plain text, for a log. width: of a line, in characters."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as captured:
        if trial.answers:
            console.print(trial_table(trial))
        console.print(Text(f"{trial.summary}\n{trial.of_table()}"))
    return captured.get()


def trial_page(trial: Trial, *, dag_id: str, run_id: str) -> str:
    """A trial as an HTML page: what it was, what it cost, and each row with its answer or why it has none."""
    return render_page("trial.html.j2", trial=trial, dag_id=dag_id, run_id=run_id)


def try_rows(
    job: BatchJob,
    rows: Callable[[], Rows],
    client: GreenNodeClient,
    run: RunFolder,
    *,
    run_id: str,
    prices: Prices,
    keeps_reasoning: bool = False,
    limits: LiveLimits | None = None,
    share: Share | None = None,
    stop: threading.Event | None = None,
    progress: Progress = unseen,
) -> Trial:
    """Answer these rows live. What came is kept in the run's folder; start it again there after any end.

    rows: opens those to ask. limits, share, stop, progress: as `run_to_file` has them. Raises BudgetError as a run
    does, and where a run would wait for a person to approve it.
    """
    trial = trial_job(job, keeps_reasoning=keeps_reasoning)
    with tempfile.TemporaryDirectory(prefix="greennode-try-") as folder:
        answers = Path(folder, "answers.parquet")
        try:
            made = run_to_file(
                trial,
                rows,
                client,
                run,
                answers,
                run_id=run_id,
                prices=prices,
                limits=limits,
                share=share,
                stop=stop,
                progress=progress,
            )
        except BudgetError as error:
            if job.budget is None or job.budget.approve_over is None:
                raise
            raise BudgetError(
                f"{error}. A try asks nobody to approve: the limit is {given_by('approve_over')}"
            ) from error
        found = pq.read_table(answers).to_pylist() if made.rows else []
    return Trial(job=trial, report=made, prices=prices, answers=found, seconds=_seconds(run))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    is_nested = isinstance(value, list | dict)
    return json.dumps(value, ensure_ascii=False, default=str) if is_nested else str(value)


class _Line(msgspec.Struct):
    custom_id: str
    seconds: float | None = None


def _seconds(run: RunFolder) -> dict[str, float]:
    """How long each request took."""
    decode = msgspec.json.Decoder(_Line).decode
    return {line.custom_id: line.seconds for line in map(decode, _lines(run)) if line.seconds is not None}


def _lines(run: RunFolder) -> Iterator[bytes]:
    plan = read_plan(run)
    for planned in plan.shards if plan is not None else ():
        if planned.requests:
            yield from run.shard(planned.shard_id).output.read_bytes().splitlines()
