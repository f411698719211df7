"""The options of the command line that declare a job, and the job that they make."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from upath import UPath

from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.file_types import FORMATS
from greennode_batch.job.prices import Prices, read_prices
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.request.needed_columns import needed_columns
from greennode_batch.source.files import read_files
from greennode_batch.source.formats.file_listing import SourceFile, source_files
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import safe_name

_BLOCK_BYTES = 1 << 20


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """What to ask: the same for `run` and `preview`."""
    parser.add_argument("--in", dest="source", required=True, metavar="FILE|FOLDER", help=_IN_HELP)
    parser.add_argument("--in-format", choices=sorted({*FORMATS.values()}), help="for names that do not tell it")
    parser.add_argument("--key", required=True, help="the column(s) that identify a row: a or a,b")
    parser.add_argument("--prompt", type=Path, required=True, metavar="FILE", help="Jinja over a row's columns")
    parser.add_argument("--system", type=Path, metavar="FILE", help="the same, for a system message")
    parser.add_argument("--model", required=True, help="an id of the server's model list")
    parser.add_argument("--params", type=json_object, default={}, metavar="JSON", help='e.g. {"max_tokens": 200}')
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="answers to each request; default: 1")
    parser.add_argument("--carry", default="", help="more columns to copy to the output: a,b")
    parser.add_argument("--profile", type=profile, default=ApiProfile(), metavar="NAME|FILE", help=_PROFILE_HELP)
    parser.add_argument("--prices", type=prices, default=Prices({}), metavar="FILE", help=_PRICES_HELP)
    parser.add_argument("--max-cost", type=float, metavar="SUM", help=_MAX_COST_HELP)
    parser.add_argument("--max-rows", type=int, metavar="N", help="send nothing if the file has more rows")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help=_TOKENIZER_HELP)


_IN_HELP = (
    "Parquet, CSV or JSON Lines, one file or a folder of them: rows.parquet, ./rows/, s3://bucket/rows/ (S3's key and "
    "address come from the environment, as AWS has it)"
)
_PROFILE_HELP = f"how the server is spoken to: {', '.join(PRESETS)}, or the JSON file that probe has written"
_PRICES_HELP = 'JSON: {"MODEL": [prompt, completion], "currency": "VND"}, real-time prices per million tokens'

_MAX_COST_HELP = "send nothing if the estimate is over it; in the currency of --prices"
_TOKENIZER_HELP = "the model's tokenizer.json, to count prompts for the estimate; needs greennode-airflow[tokenizer]"


def job_of(options: argparse.Namespace, *, out: str, partition_by: tuple[str, ...] = (), **more: Any) -> BatchJob:
    """The job that the options declare. Raises ConfigError for a file that cannot be read."""
    return BatchJob(
        name=safe_name(PurePosixPath(options.source).stem),
        source=FileSource(path=options.source, format=options.in_format),
        key=names(options.key),
        model=options.model,
        prompt=_text(options.prompt),
        system=_text(options.system) if options.system else None,
        params=options.params,
        samples=options.samples,
        carry=names(options.carry),
        budget=Budget(max_cost=options.max_cost, max_rows=options.max_rows),
        tokenizer=str(options.tokenizer.resolve()) if options.tokenizer else None,
        target=FileTarget(path=out, partition_by=partition_by),
        **more,
    )


def read_source(job: BatchJob) -> Rows:
    """The rows of the job's files, in the columns that it uses."""
    source = _source_of(job)
    return read_files(UPath(source.path), file_format=source.format, types=source.types, columns=needed_columns(job))


def run_id_of(job: BatchJob, base_url: str) -> str:
    """The same command on the same content is the same run; another prompt, model, file or server is another one.

    Reads the files once. Holds a few megabytes.
    """
    source = _source_of(job)
    contents = [(file.name, _digest(file)) for file in source_files(UPath(source.path), source.format)]
    requested = [
        job.key_columns, job.carry, job.models, job.prompt, job.system, dict(job.params),
        contents if contents[0][0] else contents[0][1], base_url.rstrip("/"),
        *([source.format] if source.format else []),
        *([job.samples] if job.samples > 1 else []),
    ]  # fmt: skip
    return hashlib.blake2b(json.dumps(requested, sort_keys=True).encode(), digest_size=8).hexdigest()


def _source_of(job: BatchJob) -> FileSource:
    assert isinstance(job.source, FileSource)
    return job.source


def _digest(file: SourceFile) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.stream() as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def profile(words: str) -> ApiProfile:
    """A preset by its name, or a file of the connection's extra fields."""
    try:
        return ApiProfile.from_extra({"profile": words} if words in PRESETS else _json_file(words))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def prices(words: str) -> Prices:
    """A price table from a file."""
    try:
        return read_prices(_json_file(words))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def json_object(words: str) -> dict[str, Any]:
    """A JSON object from the command line."""
    try:
        value = json.loads(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error}): {words}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'not a JSON object such as {{"max_tokens": 200}}: {words}')
    return value


def _json_file(path: str) -> dict[str, Any]:
    return json_object(_text(Path(path)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def names(words: str) -> tuple[str, ...]:
    """Column names with commas between them."""
    return tuple(name for name in (word.strip() for word in words.split(",")) if name)
