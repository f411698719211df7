"""`greennode-batch run`: sends the requests and writes the answers. The same command continues a stopped run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import read_live_limits
from greennode_batch.batches.throttle.limits import read_limits
from greennode_batch.cli.declared_job import declared_job
from greennode_batch.cli.job_options import add_job_options, add_pace_options, add_server_options, time_span
from greennode_batch.cli.job_rows import job_rows
from greennode_batch.cli.out_file import add_out_options, open_out
from greennode_batch.collect.pilot import PILOT_REQUESTS
from greennode_batch.interactive.local_run import api_key, run_here, run_id_of
from greennode_batch.interactive.progress import ProgressDisplay
from greennode_batch.job.prices import read_prices
from greennode_batch.reconcile.report import check_failed_ratio

_DESCRIPTION = (
    "Ask one question per row of a table and write the answers beside the key. After any interruption, start the same "
    "command again: it continues where it stopped, and nothing is paid twice. After the end of a run, it sends only "
    "rows without a good answer in FILE or FOLDER/: rows that are new or changed, or that failed."
)
_EXIT_CODES = (
    "exit codes: 0 done; 1 failed, with the reason on stderr; 2 wrong usage; 130 stopped with Ctrl-C. "
    "docs/reference/command-line.md has examples."
)
_OUT_HELP = (
    "the file to write; its name shows the format: .parquet, .csv, .tsv, .jsonl; or, with / at its end, a folder "
    "for a dataset of Parquet files: ./answers/ or s3://bucket/answers/"
)


def add_run_command(commands: Any) -> None:
    """Add the command to the subparsers of `greennode-batch`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        usage="greennode-batch run (--job FILE.py | --in FILE --key COLUMNS --model ID\n"
        "    --prompt FILE) --out FILE --base-url URL --staging DIR [options]",
        help="ask one question per row of a table, and write the answers",
        description=_DESCRIPTION,
        epilog=_EXIT_CODES,
    )
    add_job_options(parser)
    add_out_options(parser, help_of_out=_OUT_HELP, needs_out=True).add_argument(
        "--keep-reasoning", action="store_const", const=True, help="write a model's reasoning to the column `reasoning`"
    )
    add_server_options(parser)
    run = parser.add_argument_group("run")
    run.add_argument("--staging", type=Path, required=True, metavar="DIR", help="where the run's state is kept")
    run.add_argument("--attempts", type=int, metavar="N", help="the most times a request is sent; default: 2")
    run.add_argument("--max-failed-ratio", type=float, metavar="SHARE", help=_RATIO_HELP)
    run.add_argument("--pilot-requests", type=int, default=PILOT_REQUESTS, metavar="N", help=_PILOT_HELP)
    run.add_argument("--max-batches-in-flight", metavar="N", help=_IN_FLIGHT_HELP)
    run.add_argument("--max-enqueued-tokens", metavar="N", help=_TOKENS_HELP)
    add_live_options(parser)
    run.add_argument("--keep-remote-files", action="store_const", const=True, help=_KEEP_HELP)
    run.add_argument("--on-ambiguous", choices=("fail", "resubmit"), help=_AMBIGUOUS_HELP)
    parser.set_defaults(command=run_command, parser=parser)


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """What is answered live, and how much of the server that may use."""
    live = parser.add_argument_group("live answers")
    live.add_argument("--live", action="store_const", const=True, help=_LIVE_HELP)
    live.add_argument("--finish-by", type=time_span, metavar="TIME", help=_FINISH_BY_HELP)
    add_pace_options(live)


_LIVE_HELP = "answer every request live, at the full price, without a batch; also for a server that has none"
_FINISH_BY_HELP = "be done in this time, such as 6h: batches that take longer are cancelled, and the rest answered live"
_RATIO_HELP = "the share of rows that may end without an answer before the run fails; default: 0.05"
_PILOT_HELP = f"requests sent first if no results of this server were read before; 0: none; default: {PILOT_REQUESTS}"
_IN_FLIGHT_HELP = "the most batches at a time, over all runs of this staging folder; others wait in a queue"
_TOKENS_HELP = "the most estimated prompt tokens in these batches; others wait in a queue"
_KEEP_HELP = "keep the run's files at the API after its rows are written"
_AMBIGUOUS_HELP = (
    "if a batch may have been created and the server cannot list batches: fail (default) leaves the decision to you, "
    "resubmit may pay for a shard twice"
)


def run_command(options: argparse.Namespace, progress: ProgressDisplay) -> int:
    """Run the job to its end; returns the exit code."""
    job = declared_job(options, out=options.out, partition_by=options.partition_by)
    limits, live_limits = read_limits(vars(options)), read_live_limits(vars(options))
    prices = options.prices or read_prices(job.prices or {})
    run_id = run_id_of(job, options.base_url, limit=options.limit)
    client = GreenNodeClient(
        options.base_url, api_key(), profile=options.profile, allow_http_hosts=options.allow_http_hosts
    )
    with client, job_rows(job, limit=options.limit) as rows:
        made = run_here(
            job,
            rows,
            client,
            options.staging,
            lambda folder: open_out(job, folder, options.out_format),
            run_id=run_id,
            prices=prices,
            limits=limits,
            live_limits=live_limits,
            progress=progress,
            pilot_requests=options.pilot_requests,
        )
    progress.pause()
    print(made)  # noqa: T201 - this is the command's output
    if not made.rows:
        why = "all rows are answered already" if made.unchanged else "the source has no rows"
        print(f"{why}: no batch was created, no file written")  # noqa: T201 - likewise
    check_failed_ratio(made, job.max_failed_ratio)
    return 0
