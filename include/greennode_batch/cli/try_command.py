"""`greennode-batch try`: the first rows are answered live and shown as a table; nothing is written without --out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import read_live_limits
from greennode_batch.cli.declared_job import declared_job
from greennode_batch.cli.job_options import add_job_options, add_pace_options, add_server_options, at_least_one
from greennode_batch.cli.job_rows import job_rows
from greennode_batch.cli.out_file import add_out_options, open_out
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.prices import Prices, amount, read_prices
from greennode_batch.local_run import api_key
from greennode_batch.progress import ProgressDisplay
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import RunFolder, run_folder
from greennode_batch.state.plan import read_plan
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.run_report import RunReport
from greennode_batch.wording import counted

_NAME = "try"
_ROWS = 10


def add_try_command(commands: Any) -> None:
    """Add the command to the subparsers of `greennode-batch`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        _NAME,
        usage="greennode-batch try (--job FILE.py | --in FILE --key COLUMNS --model ID\n"
        "    --prompt FILE) --base-url URL [options]",
        help="answer the first rows live, and show the answers",
        description="Ask the first rows live, at the full price, and show answers, tokens, latency and cost, and what "
        "the whole table would cost in batches. Writes nothing without --out.",
    )
    add_job_options(parser)
    add_out_options(parser, help_of_out="write these answers there as well, as `run` does")
    add_server_options(parser)
    shown = parser.add_argument_group("try")
    shown.add_argument("--rows", type=at_least_one, default=_ROWS, metavar="N", help=f"how many; default: {_ROWS}")
    shown.add_argument("--show-reasoning", action="store_true", help="show what the model thought before it answered")
    add_pace_options(shown)
    parser.set_defaults(command=try_command, parser=parser)


def try_command(options: argparse.Namespace, progress: ProgressDisplay) -> int:
    """Run the first rows live in a folder that goes when they are shown."""
    logging.getLogger("greennode_batch").setLevel(logging.WARNING)  # the table says it all
    limits = read_live_limits(vars(options))
    client = GreenNodeClient(
        options.base_url, api_key(), profile=options.profile, allow_http_hosts=options.allow_http_hosts
    )
    with client, tempfile.TemporaryDirectory(prefix="greennode-try-") as folder:
        declared = declared_job(options, out=options.out or "out.parquet", partition_by=options.partition_by)
        job = dataclasses.replace(
            declared,
            live=Live(only=True),
            attempts=1,
            canary=0,
            refresh="all",
            orphaned_rows="ignore",
            keep_reasoning=options.show_reasoning or declared.keep_reasoning,
            systematic_failure_ratio=None,
            min_read_ratio=0,
        )
        prices = options.prices or read_prices(job.prices or {})
        run, answers = run_folder(folder, job.name, _NAME), Path(folder, "answers.parquet")

        def run_into(out: Any) -> RunReport:
            return run_to_file(
                job, rows, client, run, out, run_id=_NAME, prices=prices, limits=limits, progress=progress
            )

        with job_rows(job, limit=options.rows) as rows:
            made = run_into(answers)
            if options.out and made.rows:
                with closing(open_out(job, run, options.out_format)) as out:
                    run_into(out)
        with job_rows(job, limit=options.limit) as rows:
            count = sum(map(len, rows().batches))
        progress.pause()
        console = Console(file=sys.stdout, highlight=False)
        if made.rows:
            seconds = _seconds(run)
            console.print(_table(job, pq.read_table(answers).to_pylist(), seconds, reasoning=options.show_reasoning))
            console.print(Text(_summary(made, seconds)))
        console.print(Text(_whole_table(job, made, prices, count)))
    return 0


def _table(job: BatchJob, rows: Sequence[Mapping[str, Any]], seconds: Mapping[str, float], *, reasoning: bool) -> Table:
    """One line a row: key, typed answer or why there is none, tokens, latency."""
    keys = [*job.target_key]
    fields = list(job.answer_columns)
    table = Table()
    for name in (*keys, *fields, *(["reasoning"] if reasoning else []), "tokens", "seconds"):
        table.add_column(name, overflow="fold")
    for row in rows:
        answered = row["status"] == RowStatus.SUCCEEDED
        values = [_shown(row[name]) for name in fields]
        if not answered:
            values[0] = Text(f"{row['status']}: {row['error']}", style="red")
        tokens = f"{row['prompt_tokens'] or 0:,} + {row['completion_tokens'] or 0:,}"
        took = seconds.get(row["custom_id"])
        table.add_row(
            *(_shown(row[name]) for name in keys),
            *values,
            *([_shown(row["reasoning"])] if reasoning else []),
            tokens,
            "" if took is None else f"{took:.1f}",
        )
    return table


def _shown(value: Any) -> Text:
    if value is None:
        return Text("")
    is_nested = isinstance(value, list | dict)
    return Text(json.dumps(value, ensure_ascii=False, default=str) if is_nested else str(value))


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


def _summary(made: RunReport, seconds: Mapping[str, float]) -> str:
    statuses = ", ".join(f"{count:,} {status}" for status, count in made.statuses.items())
    parts = [
        f"{counted(made.rows, 'row')} ({statuses})",
        f"{made.prompt_tokens:,} prompt and {made.completion_tokens:,} completion tokens",
    ]
    if seconds:
        parts.append(f"{statistics.median(seconds.values()):.1f} s an answer, {max(seconds.values()):.1f} s at most")
    parts.append("no price known" if made.cost is None else f"{amount(made.cost, made.currency)} live")
    return "; ".join(parts)


def _whole_table(job: BatchJob, made: RunReport, prices: Prices, rows: int) -> str:
    """What the whole table would use and cost, if its rows are as these."""
    requests = rows * len(job.models) * job.samples
    if not made.rows or not made.requests:
        return f"The source has {counted(rows, 'row')}; none of the first asks anything"
    share = requests / made.rows
    parts = [
        (
            f"The whole table ({counted(rows, 'row')}): about {made.prompt_tokens * share:,.0f} prompt and "
            f"{made.completion_tokens * share:,.0f} completion tokens"
        )
    ]
    if made.cost is not None:
        live = made.cost * share
        parts.append(f"about {amount(prices.in_batch(live), made.currency)} in batches")
        parts.append(f"{amount(live, made.currency)} live")
    return ", ".join(parts)
