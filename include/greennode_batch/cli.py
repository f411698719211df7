"""Command line: the same engine with no Airflow."""

from __future__ import annotations

import argparse
import fcntl
import itertools
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.throttle.limits import read_limits
from greennode_batch.batches.throttle.queue import SubmitQueue
from greennode_batch.batches.throttle.queue_folder import queue_folder
from greennode_batch.cleanup.remote_files import remove_remote_files
from greennode_batch.cli_options import add_job_options, job_of, names, read_source, run_id_of
from greennode_batch.cost.budget_check import budget_forecast
from greennode_batch.errors import ApiError, AuthError, ConfigError, CreditError, GreenNodeError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.plan.preview import preview
from greennode_batch.probe.command import KEY_VARIABLE, api_key
from greennode_batch.probe.command import add_parser as add_probe_parser
from greennode_batch.reconcile.report import check_failed_ratio
from greennode_batch.run import is_there, run_to_file
from greennode_batch.staging.folders import RunFolder, read_json, run_folder
from greennode_batch.staging.modes import make_folder
from greennode_batch.state.run_report import RunReport
from greennode_batch.write.dataset import Dataset

_OUT_HELP = (
    "the Parquet file to write; or, with / at its end, a folder for a dataset: ./answers/ or s3://bucket/answers/"
)
_REFRESH_HELP = "all: ask also the rows that have a good answer there, and pay for them again; default: changed"
_GO_ON = "What was sent is kept in staging; start the same command again to go on, and nothing is paid twice"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed (with the reason on stderr), 2 wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return int(options.command(options))
    except ApiError as error:
        return _fail(f"{error}. {_hint(error)}{_GO_ON}")
    except GreenNodeError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error}. {_GO_ON}")
    except KeyboardInterrupt:
        return _fail(f"stopped. {_GO_ON}")


def _hint(error: ApiError) -> str:
    """What to mend before the command is started again."""
    if isinstance(error, AuthError):
        return f"The key comes from {KEY_VARIABLE}: check it there. "
    if isinstance(error, CreditError):
        return "Top up the account first: no more was submitted, and what was goes on. "
    return ""


def _fail(words: str) -> int:
    print(f"greennode-batch: {words}", file=sys.stderr)  # noqa: T201 - this is the command's output
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greennode-batch", description="Batch inference with GreenNode: a table in, a table out."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    preview_parser = commands.add_parser(
        "preview",
        help="show what a run would ask and about how much, and send nothing",
        description="Render the requests, count them, and show the first. Needs no key and no network.",
    )
    add_job_options(preview_parser)
    preview_parser.add_argument("--requests", type=int, default=3, metavar="N", help="how many to show; default: 3")
    preview_parser.set_defaults(command=_preview)
    run = commands.add_parser(
        "run",
        help="ask one question per row of a file, and write the answers",
        description="Ask one question per row of a file and write the answers beside the key. Start the same "
        "command again after any interruption: it goes on where it was, and nothing is paid twice. Started when it is "
        "over, it asks what FILE or FOLDER/ has no good answer of yet: rows that are new or changed, or have failed. "
        f"The API key is read from the environment variable {KEY_VARIABLE}.",
    )
    add_job_options(run)
    run.add_argument("--out", required=True, metavar="FILE|FOLDER/", help=_OUT_HELP)
    run.add_argument("--partition-by", default="", metavar="COLUMNS", help="a,b: columns that become folders of FOLDER")
    run.add_argument("--refresh", choices=("changed", "all"), default="changed", help=_REFRESH_HELP)
    run.add_argument("--base-url", required=True, metavar="URL", help="the API's address, e.g. https://HOST/v1")
    run.add_argument("--staging", type=Path, required=True, metavar="DIR", help="where the run's state is kept")
    run.add_argument("--max-failed-ratio", type=float, default=0.05, metavar="SHARE", help="default: 0.05")
    run.add_argument("--canary", type=int, default=1, metavar="N", help="requests tried live first; default: 1")
    run.add_argument("--attempts", type=int, default=2, metavar="N", help="how often a request is asked; default: 2")
    run.add_argument(
        "--max-batches-in-flight",
        metavar="N",
        help="so many at a time, with all runs of this staging folder; the others wait in line",
    )
    run.add_argument(
        "--max-enqueued-tokens", metavar="N", help="so many prompt tokens in these, as they are estimated; likewise"
    )
    run.add_argument(
        "--keep-remote-files", action="store_true", help="leave the run's files at the API when its rows are written"
    )
    run.add_argument("--keep-reasoning", action="store_true", help="write what a model thinks into `reasoning`")
    run.add_argument(
        "--on-ambiguous",
        choices=("fail", "resubmit"),
        default="fail",
        help="what to do when a batch may have been created and the server cannot list batches",
    )
    run.set_defaults(command=_run)
    add_probe_parser(commands)
    return parser


def _preview(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="greennode-preview-") as folder:
        job = job_of(options, out="out.parquet")
        run = run_folder(folder, job.name, "preview")
        plan = build(
            job, lambda: read_source(job), run, run_id="preview", profile=options.profile, prices=options.prices
        )
        print(preview(run, plan, shown=options.requests))  # noqa: T201
        if said := budget_forecast(plan, job.budget, canary=job.canary):
            print(f"\n{said}")  # noqa: T201
    return 0


def _run(options: argparse.Namespace) -> int:
    job = job_of(
        options,
        out=options.out,
        partition_by=names(options.partition_by),
        canary=options.canary,
        max_failed_ratio=options.max_failed_ratio,
        on_ambiguous=options.on_ambiguous,
        attempts=options.attempts,
        keep_remote_files=options.keep_remote_files,
        keep_reasoning=options.keep_reasoning,
        refresh=options.refresh,
    )
    limits = read_limits(vars(options), where="the command line")
    run_id = run_id_of(job, options.base_url)
    first = run_folder(options.staging, job.name, run_id)
    with (
        GreenNodeClient(options.base_url, api_key(), profile=options.profile) as client,
        _alone_in(first),
    ):

        def run_in(folder: RunFolder) -> RunReport:
            return run_to_file(
                job,
                lambda: read_source(job),
                client,
                folder,
                _open_out(job, folder),
                run_id=folder.path.name,
                prices=options.prices,
                admit=SubmitQueue(queue_folder(UPath(options.staging), client.host), limits, client).admit
                if limits
                else None,
            )

        over, folder = _runs_of(options.staging, job, run_id)
        if over:
            # It may have been stopped after its report.
            remove_remote_files(over[-1], client, keep=bool(job.keep_remote_files))
        if over and not is_there(_open_out(job, first)):
            # What was paid for is written again, not asked again.
            for one in over:
                run_in(one)
        made = run_in(folder)
    print(made)  # noqa: T201 - this is the command's output
    if not made.rows:
        why = "all rows are answered already" if made.unchanged else f"{options.source} has no rows"
        print(f"{why}: no batch was created, no file written")  # noqa: T201 - likewise
    check_failed_ratio(made, job.max_failed_ratio)
    return 0


def _runs_of(staging: Path, job: BatchJob, run_id: str) -> tuple[list[RunFolder], RunFolder]:
    """The runs of this very command that are over, in their order, and the one to go on with, or to begin."""
    over: list[RunFolder] = []
    for number in itertools.count(1):
        run = run_folder(staging, job.name, run_id if number == 1 else f"{run_id}-{number}")
        made = read_json(run.report, RunReport)
        if made is None or not made.balanced:
            break
        over.append(run)
    return over, run


def _open_out(job: BatchJob, run: RunFolder) -> Path | Dataset:
    """The file or the dataset that --out names."""
    (target,) = job.targets
    assert isinstance(target, FileTarget)
    is_remote = "://" in target.path
    if is_remote and target.path.endswith(".parquet"):
        raise ConfigError(f"{target.path}: one file is written on this machine's disk only; name a folder, ending in /")
    if is_remote or target.path.endswith("/") or Path(target.path).is_dir():
        return Dataset(UPath(target.path), run, partition_by=target.partition_by)
    if target.partition_by:
        raise ConfigError(f"{target.path}: --partition-by makes folders, so --out names one; put / at its end")
    out = Path(target.path)
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


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
                f"another greennode-batch is at work on this run ({run}); wait for it, or stop it"
            ) from None
        yield


if __name__ == "__main__":
    sys.exit(main())
