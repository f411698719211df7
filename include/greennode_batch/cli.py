"""Command line: the same engine with no Airflow."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.source import read_parquet
from greennode_batch.errors import ApiError, AuthError, ConfigError, GreenNodeError
from greennode_batch.job import BatchJob, FileSource, FileTarget
from greennode_batch.report import check_failed_ratio
from greennode_batch.run import run_to_file
from greennode_batch.staging import RunFolder, run_folder, safe_name

_KEY_VARIABLE = "GREENNODE_API_KEY"
_GO_ON = "What was sent is kept in staging; start the same command again to go on, and nothing is paid twice"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed (with the reason on stderr), 2 wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return int(options.command(options))
    except AuthError as error:
        return _fail(f"{error}. The key comes from {_KEY_VARIABLE}: check it there. {_GO_ON}")
    except ApiError as error:
        return _fail(f"{error}. {_GO_ON}")
    except GreenNodeError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error}. {_GO_ON}")
    except KeyboardInterrupt:
        return _fail(f"stopped. {_GO_ON}")


def _fail(words: str) -> int:
    print(f"greennode-batch: {words}", file=sys.stderr)  # noqa: T201 - this is the command's output
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
    run.add_argument("--params", type=_json_object, default={}, metavar="JSON", help='e.g. {"max_tokens": 200}')
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
        name=safe_name(options.source.stem),
        source=FileSource(path=str(options.source)),
        key=_names(options.key),
        model=options.model,
        prompt=_text(options.prompt),
        system=_text(options.system) if options.system else None,
        params=options.params,
        carry=_names(options.carry),
        target=FileTarget(path=str(options.out)),
        max_failed_ratio=options.max_failed_ratio,
        on_ambiguous=options.on_ambiguous,
    )
    if options.out.is_dir():
        raise ConfigError(f"{options.out}: is a folder; --out names the Parquet file to write. Nothing was sent")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    run_id = _run_id(job, options.source, options.base_url)
    folder = run_folder(options.staging, job.name, run_id)
    with (
        GreenNodeClient(options.base_url, _api_key(), profile=ApiProfile()) as client,
        _alone_in(folder),
    ):
        made = run_to_file(job, lambda: read_parquet(options.source), client, folder, options.out, run_id=run_id)
    print(made)  # noqa: T201 - this is the command's output
    if not made.rows:
        print(f"{options.source} has no rows: no batch was created, no file written")  # noqa: T201 - likewise
    check_failed_ratio(made, job.max_failed_ratio)
    return 0


def _api_key() -> str:
    key = os.environ.get(_KEY_VARIABLE, "")
    if not key:
        raise ConfigError(
            f"the environment variable {_KEY_VARIABLE} is not set; it holds the API key. Nothing was sent"
        )
    return key


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _names(words: str) -> tuple[str, ...]:
    return tuple(name for name in (word.strip() for word in words.split(",")) if name)


def _json_object(words: str) -> dict[str, Any]:
    try:
        value = json.loads(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error}): {words}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'not a JSON object such as {{"max_tokens": 200}}: {words}')
    return value


@contextmanager
def _alone_in(run: RunFolder) -> Iterator[None]:
    """Hold the run's lock, which ends with the process, however it ends."""
    path = Path(str(run), "lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another greennode-batch is at work on this run ({run}); wait for it, or stop it"
            ) from None
        yield


def _run_id(job: BatchJob, source: Path, base_url: str) -> str:
    """The same command on the same content is the same run; another prompt, model, file or server is another one."""
    try:
        with source.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error})") from None
    asked = [
        job.key_columns, job.carry, job.models, job.prompt, job.system, dict(job.params),
        content, base_url.rstrip("/"),
    ]  # fmt: skip
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
