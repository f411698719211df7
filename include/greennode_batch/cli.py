"""Command line: the same engine with no Airflow."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
from pathlib import Path

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.source import read_parquet
from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.job import BatchJob, FileSource, FileTarget
from greennode_batch.report import check_failed_ratio
from greennode_batch.run import run_to_file
from greennode_batch.staging import run_folder

_KEY_VARIABLE = "GREENNODE_API_KEY"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed (with the reason on stderr), 2 wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return int(options.command(options))
    except GreenNodeError as error:
        print(f"greennode-batch: {error}", file=sys.stderr)  # noqa: T201 - this is the command's output
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="greennode-batch", description="Batch inference with GreenNode: a table in, a table out."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="ask one question per row of a file, and write the answers",
        description="Ask one question per row of a file and write the answers beside the key. Start the same "
        "command again after any interruption: it goes on where it was, and nothing is paid twice. "
        f"The API key is read from the environment variable {_KEY_VARIABLE}.",
    )
    run.add_argument("--in", dest="source", type=Path, required=True, metavar="FILE", help="a Parquet file")
    run.add_argument("--key", required=True, help="the column(s) that identify a row: a or a,b")
    run.add_argument("--prompt", type=Path, required=True, metavar="FILE", help="Jinja over a row's columns")
    run.add_argument("--system", type=Path, metavar="FILE", help="the same, for a system message")
    run.add_argument("--model", required=True, help="an id of the server's model list")
    run.add_argument("--params", type=json.loads, default={}, metavar="JSON", help='e.g. {"max_tokens": 200}')
    run.add_argument("--carry", default="", help="more columns to copy to the output: a,b")
    run.add_argument("--out", type=Path, required=True, metavar="FILE", help="the Parquet file to write")
    run.add_argument("--base-url", required=True, metavar="URL", help="the API's address, e.g. https://HOST/v1")
    run.add_argument("--staging", type=Path, required=True, metavar="DIR", help="where the run's state is kept")
    run.add_argument("--max-failed-ratio", type=float, default=0.05, metavar="SHARE", help="default: 0.05")
    run.add_argument(
        "--on-ambiguous",
        choices=("fail", "resubmit"),
        default="fail",
        help="what to do when a batch may have been created and the server cannot list batches",
    )
    run.set_defaults(command=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    job = BatchJob(
        name=options.source.stem.replace(" ", "_"),
        source=FileSource(path=str(options.source)),
        key=tuple(options.key.split(",")),
        model=options.model,
        prompt=_text(options.prompt),
        system=_text(options.system) if options.system else None,
        params=options.params,
        carry=tuple(filter(None, options.carry.split(","))),
        target=FileTarget(path=str(options.out)),
        max_failed_ratio=options.max_failed_ratio,
        on_ambiguous=options.on_ambiguous,
    )
    run_id = _run_id(job, options.source)
    folder = run_folder(options.staging, job.name, run_id)
    with GreenNodeClient(options.base_url, _api_key(), profile=ApiProfile()) as client:
        made = run_to_file(job, lambda: read_parquet(options.source), client, folder, options.out, run_id=run_id)
    print(made)  # noqa: T201 - this is the command's output
    if not made.rows:
        print(f"{options.source} has no rows: no batch was created, no file written")  # noqa: T201 - likewise
    check_failed_ratio(made, job.max_failed_ratio)
    return 0


def _api_key() -> str:
    key = os.environ.get(_KEY_VARIABLE, "")
    if not key:
        raise ConfigError(f"the environment variable {_KEY_VARIABLE} is not set; it holds the API key")
    return key


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None


def _run_id(job: BatchJob, source: Path) -> str:
    """The same command on the same file is the same run; another prompt, model or file is another one."""
    try:
        file = source.stat()
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file") from None
    asked = [
        job.key_columns, job.carry, job.models, job.prompt, job.system, dict(job.params),
        str(source.resolve()), file.st_size, file.st_mtime_ns,
    ]  # fmt: skip
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
