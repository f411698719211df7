"""`greennode-batch run`: sends the requests and writes the answers. The same command continues a stopped run."""

from __future__ import annotations

import argparse
import fcntl
import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.live_pace import read_live_limits
from greennode_batch.batches.live_share import LiveShare
from greennode_batch.batches.throttle.limits import read_limits
from greennode_batch.batches.throttle.queue import SubmitQueue
from greennode_batch.batches.throttle.queue_folder import queue_folder
from greennode_batch.cleanup.remote_files import remove_remote_files
from greennode_batch.cli.declared_job import declared_job
from greennode_batch.cli.job_rows import job_rows
from greennode_batch.cli.out_file import add_out_options, open_out
from greennode_batch.cli.progress import ProgressDisplay
from greennode_batch.cli_options import (
    KEY_VARIABLE,
    add_job_options,
    add_pace_options,
    add_server_options,
    api_key,
    run_id_of,
    time_span,
)
from greennode_batch.collect.pilot import PILOT_REQUESTS
from greennode_batch.errors import ApiError, AuthError, ConfigError, CreditError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import read_prices
from greennode_batch.reconcile.report import check_failed_ratio
from greennode_batch.run import run_to_file
from greennode_batch.staging.folders import RunFolder, read_json, run_folder
from greennode_batch.staging.modes import make_folder
from greennode_batch.state.attempts import all_sent
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import is_sent
from greennode_batch.state.run_report import RunReport

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
_GO_ON = "What was sent is kept in staging; start the same command again to go on, and nothing is paid twice"
_NOTHING = "Nothing was sent; start the same command again to try again"
_NOTHING_STOPPED = "Nothing was sent; start the same command again to begin"


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
    first = run_folder(options.staging, job.name, run_id)
    client = GreenNodeClient(
        options.base_url, api_key(), profile=options.profile, allow_http_hosts=options.allow_http_hosts
    )
    with client, _alone_in(first), job_rows(job, limit=options.limit) as rows:
        share = LiveShare(UPath(options.staging), client.host)
        queue = SubmitQueue(queue_folder(UPath(options.staging), client.host), limits, client)

        def run_in(folder: RunFolder) -> RunReport:
            with _told_how_to_go_on(folder), closing(open_out(job, folder, options.out_format)) as out:
                return run_to_file(
                    job,
                    rows,
                    client,
                    folder,
                    out,
                    run_id=folder.path.name,
                    prices=prices,
                    admit=queue.admit if limits else None,
                    limits=live_limits,
                    share=share if live_limits.are_shared else None,
                    progress=progress,
                    pilot_requests=options.pilot_requests,
                )

        over, folder = _runs_of(options.staging, job, run_id)
        if over:
            # It may have been stopped after its report.
            remove_remote_files(over[-1], client, keep=bool(job.keep_remote_files))
        if over and not open_out(job, first, options.out_format).all_files():
            # Answers that are paid for are written again, not requested again.
            for one in over:
                run_in(one)
        made = run_in(folder)
    progress.pause()
    print(made)  # noqa: T201 - this is the command's output
    if not made.rows:
        why = "all rows are answered already" if made.unchanged else "the source has no rows"
        print(f"{why}: no batch was created, no file written")  # noqa: T201 - likewise
    check_failed_ratio(made, job.max_failed_ratio)
    return 0


@contextmanager
def _told_how_to_go_on(run: RunFolder) -> Iterator[None]:
    """Add to an error what became of the requests, and how to continue."""
    try:
        yield
    except (ApiError, OSError, KeyboardInterrupt) as error:
        if isinstance(error, AuthError):
            error.add_note(f"The key comes from {KEY_VARIABLE}: check that variable")
        if isinstance(error, CreditError):
            error.add_note("Top up the account first: nothing more was submitted; batches that were submitted go on")
        nothing = _NOTHING_STOPPED if isinstance(error, KeyboardInterrupt) else _NOTHING
        error.add_note(_GO_ON if _was_something_sent(run) else nothing)
        raise


def _was_something_sent(run: RunFolder) -> bool:
    plan = read_plan(run)
    shards = all_sent(run, plan) if plan is not None else ()
    folders = [one.folder(run) for one in shards]
    return run.canary.exists() or any(shard.uploading.exists() or is_sent(shard) for shard in folders)


def _runs_of(staging: Path, job: BatchJob, run_id: str) -> tuple[list[RunFolder], RunFolder]:
    """The finished runs of this same command, in order, and the one to continue or begin."""
    over: list[RunFolder] = []
    for number in itertools.count(1):
        run = run_folder(staging, job.name, run_id if number == 1 else f"{run_id}-{number}")
        made = read_json(run.report, RunReport)
        if made is None or not made.balanced:
            break
        over.append(run)
    return over, run


@contextmanager
def _alone_in(run: RunFolder) -> Iterator[None]:
    """Hold the run's lock, which ends with the process, however it ends."""
    path = Path(str(run), "lock")
    make_folder(path.parent)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another greennode-batch is working on this run ({run}); wait for it, or stop it"
            ) from None
        yield
