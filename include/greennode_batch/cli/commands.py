"""The commands: the options of each, and the function that runs it.

A function is named by its path: its module loads Arrow and HTTP, for which only the one who runs the command waits.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from greennode_batch.api.profile import PRESETS
from greennode_batch.cli.job_options import (
    HTTP_HELP,
    add_job_options,
    add_out_options,
    add_pace_options,
    add_profile_option,
    add_server_options,
    at_least_one,
    time_span,
)
from greennode_batch.interactive.api_key import KEY_VARIABLE
from greennode_batch.job.live_mode import TRY_ROWS
from greennode_batch.probe.airflow_api import HELP
from greennode_batch.probe.state import DEFAULT_WAIT_SECONDS
from greennode_batch.state.plan import PILOT_REQUESTS

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


def add_preview_command(commands: Any) -> None:
    """Add the command to the subparsers of `greennode-batch`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "preview",
        usage="greennode-batch preview (--job FILE.py | --in FILE --key COLUMNS\n"
        "    --model ID --prompt FILE) [options]",
        help="show what a run would send and about how much, and send nothing",
        description="Render the requests, count them, and show the first few. Needs no key and no network.",
    )
    add_job_options(parser)
    add_out_options(parser, help_of_out="leave out rows that a run with this file or folder would not send again")
    shown = parser.add_argument_group("preview")
    add_profile_option(shown)
    shown.add_argument("--requests", type=int, default=3, metavar="N", help="how many to show; default: 3")
    parser.set_defaults(command="greennode_batch.cli.preview_command:preview_command", parser=parser)


def add_try_command(commands: Any) -> None:
    """Add the command to the subparsers of `greennode-batch`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "try",
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
    shown.add_argument(
        "--rows", type=at_least_one, default=TRY_ROWS, metavar="N", help=f"how many; default: {TRY_ROWS}"
    )
    shown.add_argument("--show-reasoning", action="store_true", help="show what the model thought before it answered")
    add_pace_options(shown)
    parser.set_defaults(command="greennode_batch.cli.try_command:try_command", parser=parser)


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
    parser.set_defaults(command="greennode_batch.cli.run_command:run_command", parser=parser)


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


def add_probe_command(commands: Any) -> None:
    """Add the command to the subparsers of `greennode-batch`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "probe",
        usage="greennode-batch probe (--base-url URL | --resume FOLDER) [options]",
        help="find out how a server speaks, and print the profile for its connection",
        description="Send a few tiny requests and two-line batches, and report what works: models, files, batches, "
        "status words, lists, results, cancel, delete. Raw replies are saved in a folder, without the key.",
        epilog="exit codes: 0 all steps are done; 1 it ended early, with the reason on stderr; 2 wrong usage; 3 "
        "batches are still open: continue with --resume; 130 stopped with Ctrl-C.",
    )
    server = parser.add_argument_group("server", f"The API key is read from the environment variable {KEY_VARIABLE}.")
    server.add_argument("--base-url", metavar="URL", help="its address, such as https://HOST/v1")
    server.add_argument(
        "--no-version",
        dest="base_url_version",
        action="store_false",
        help="the address of this server has no version such as /v1 at its end",
    )
    presets = f"the profile to try first: {', '.join(PRESETS)}; default: greennode"
    server.add_argument("--profile", choices=tuple(PRESETS), metavar="NAME", help=presets)
    server.add_argument(
        "--allow-http", dest="allow_http_hosts", action="append", default=[], metavar="HOST", help=HTTP_HELP
    )
    parser.add_argument(
        "--model", metavar="ID", help="an id of the server's model list; the first for chat if left out"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write; default: probe-DATE-TIME")
    parser.add_argument(
        "--wait",
        type=float,
        default=DEFAULT_WAIT_SECONDS,
        metavar="SECONDS",
        help=f"how long to wait for batches; default: {DEFAULT_WAIT_SECONDS:.0f}",
    )
    parser.add_argument("--keep", action="store_true", help="leave the probe's files and batches on the server")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="continue an earlier probe that is not finished")
    parser.add_argument(
        "--save",
        metavar="CONNECTION",
        help=f"write the profile into this Airflow connection; the change is shown first. {HELP}",
    )
    parser.set_defaults(command="greennode_batch.cli.probe_command:probe_command", parser=parser)
