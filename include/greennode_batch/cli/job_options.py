"""The options of the command line that declare a job, and what several commands share."""

from __future__ import annotations

import argparse
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.errors import ConfigError
from greennode_batch.interactive.api_key import KEY_VARIABLE
from greennode_batch.job.file_types import FORMATS
from greennode_batch.job.prices import Prices, read_prices

FILE_FORMATS = tuple(sorted({*FORMATS.values()}))
_TIME_SPAN = re.compile(r"(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?")
# Without --job these are required, and one of --prompt and --messages.
_NEEDED = ("source", "key", "model")


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """What to ask, and about which rows: the same for `run` and `preview`. Options that are left out are None."""
    rows = parser.add_argument_group("rows")
    rows.add_argument("--job", metavar="FILE.py[:NAME]", help=_JOB_HELP)
    rows.add_argument("--in", dest="source", metavar="FILE|FOLDER", help=_IN_HELP)
    rows.add_argument("--in-format", "--format", dest="format", choices=FILE_FORMATS, help=_FORMAT_HELP)
    rows.add_argument("--in-types", "--types", dest="types", type=_types_object, metavar="JSON", help=_TYPES_HELP)
    rows.add_argument("--delimiter", metavar="CHARACTER", help=_DELIMITER_HELP)
    rows.add_argument("--quote", metavar="CHARACTER", help=_QUOTE_HELP)
    rows.add_argument("--escape", metavar="CHARACTER", help=_ESCAPE_HELP)
    rows.add_argument("--encoding", metavar="NAME", help="the encoding of CSV, such as cp1252; default: utf-8")
    rows.add_argument("--key", type=names, metavar="COLUMNS", help="what identifies a row: a or a,b")
    rows.add_argument("--carry", type=names, metavar="COLUMNS", help="more columns to copy to the output: a,b")
    rows.add_argument("--limit", type=at_least_one, metavar="N", help="read only the first N rows")
    question = parser.add_argument_group("question")
    requested = question.add_mutually_exclusive_group()
    requested.add_argument("--prompt", type=Path, metavar="FILE", help="a Jinja template over a row's columns")
    requested.add_argument("--messages", type=Path, metavar="FILE", help=_MESSAGES_HELP)
    question.add_argument("--system", type=Path, metavar="FILE", help="a system message before --prompt, also in Jinja")
    question.add_argument("--answer", metavar="MODEL", help=_ANSWER_HELP)
    question.add_argument("--model", metavar="ID", help="an id of the server's model list")
    question.add_argument("--params", type=json_object, metavar="JSON", help=_PARAMS_HELP)
    question.add_argument("--samples", type=int, metavar="N", help="answers to each request; default: 1")
    question.add_argument("--refresh", choices=("changed", "all"), help=_REFRESH_HELP)
    question.add_argument("--retry-final", action="store_const", const=True, help=_RETRY_FINAL_HELP)
    cost = parser.add_argument_group("cost")
    cost.add_argument("--prices", type=prices, metavar="FILE", help=_PRICES_HELP)
    cost.add_argument("--max-cost", type=float, metavar="SUM", help=_MAX_COST_HELP)
    cost.add_argument("--max-live-cost", type=float, metavar="SUM", help=_MAX_LIVE_COST_HELP)
    cost.add_argument("--max-rows", type=int, metavar="N", help="send nothing if there are more rows")
    cost.add_argument("--tokenizer", type=Path, metavar="FILE", help=_TOKENIZER_HELP)
    cost.add_argument("--canary", type=int, metavar="N", help=_CANARY_HELP)


_JOB_HELP = (
    "run the job that a Python file declares, such as a DAG file; add NAME if it declares several. Every other option "
    "overrides the job. The answers go to --out, not to the job's targets"
)
_IN_HELP = (
    "Parquet, CSV or JSON Lines, one file or a folder of them: rows.parquet, ./rows/, s3://bucket/rows/ (the S3 key "
    "and address come from the usual AWS environment variables)"
)
_FORMAT_HELP = "the format of --in, if its name does not show it"
_PARAMS_HELP = 'more fields of each request, such as {"max_tokens": 200}'
_TYPES_HELP = 'types of CSV columns, which are text otherwise: {"day": "date"}'
_DELIMITER_HELP = "what separates the values of CSV, such as ';'; default: a comma, in TSV a tab"
_QUOTE_HELP = "what encloses values of CSV, '' for nothing; default: a double quote"
_ESCAPE_HELP = "what stands before a quote that belongs to a value of CSV, such as '\\'; default: quotes are doubled"
_MESSAGES_HELP = "instead of --prompt and --system: a JSON list of chat messages, with Jinja in their texts"
_ANSWER_HELP = (
    "typed answers: a Pydantic model, as package.module:Class or FILE.py:Class, or a JSON schema, as FILE.json; its "
    "fields become columns"
)
_REFRESH_HELP = "all: also send rows with a good answer in --out, and pay for them again; default: changed"
_RETRY_FINAL_HELP = "send refused, truncated, rejected and invalid requests again, even if they have not changed"
_PROFILE_HELP = f"the request format of the server: {', '.join(PRESETS)}, or the JSON file that probe has written"
_PRICES_HELP = 'JSON: {"MODEL": [prompt, completion], "currency": "VND"}, real-time prices per million tokens'
_MAX_COST_HELP = "send nothing if the estimate is higher; in the currency of --prices"
_MAX_LIVE_COST_HELP = "what live answers may cost; more requests go into a batch"
_TOKENIZER_HELP = "the model's tokenizer.json, to count prompts for the estimate; needs greennode-airflow[tokenizer]"
_CANARY_HELP = "requests of each model to send live first, at the full price; default: 1"


def add_out_options(parser: argparse.ArgumentParser, *, help_of_out: str, needs_out: bool = False) -> Any:
    """Add the options for where answers go; returns their group."""
    answers = parser.add_argument_group("answers")
    answers.add_argument("--out", required=needs_out, metavar="FILE|FOLDER/", help=help_of_out)
    answers.add_argument("--out-format", choices=FILE_FORMATS, help="the format of --out, if its name does not show it")
    answers.add_argument(
        "--partition-by", type=names, default=(), metavar="COLUMNS", help="columns that become folders of FOLDER: a,b"
    )
    return answers


def add_server_options(parser: argparse.ArgumentParser, *, needs_url: bool = True) -> None:
    """Add the options for the server: its address and its request format."""
    server = parser.add_argument_group("server", f"The API key is read from the environment variable {KEY_VARIABLE}.")
    server.add_argument("--base-url", required=needs_url, metavar="URL", help="its address, such as https://HOST/v1")
    add_profile_option(server)
    server.add_argument(
        "--allow-http", dest="allow_http_hosts", action="append", default=[], metavar="HOST", help=HTTP_HELP
    )


def add_pace_options(group: Any) -> None:
    """How much of the server live answers may use."""
    group.add_argument("--max-concurrency", metavar="N", help="live requests under way at a time, at most; default: 64")
    group.add_argument("--max-requests-per-minute", metavar="N", help="live requests that begin in a minute, at most")
    group.add_argument("--max-tokens-per-minute", metavar="N", help="tokens of live answers in a minute, at most")


def add_profile_option(group: Any) -> None:
    """Add --profile, which decides the format of a request."""
    group.add_argument("--profile", type=profile, default=ApiProfile(), metavar="NAME|FILE", help=_PROFILE_HELP)


HTTP_HELP = "allow http:// for this host, by name; repeat it for several hosts"


def given_by_options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The options of a command by the fields that they set: `format` is set by `--in-format`."""
    return {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}  # noqa: SLF001


def missing_options(options: argparse.Namespace) -> str:
    """Which options are missing to declare a job, as text; empty if none is."""
    if "job" not in options or options.job:
        return ""
    given = given_by_options(options.parser)
    missing = [given[field] for field in _NEEDED if getattr(options, field) is None]
    if options.prompt is None and options.messages is None:
        missing.append("--prompt or --messages")
    return f"the following arguments are required: {', '.join(missing)}; or --job" if missing else ""


def profile(words: str) -> ApiProfile:
    """A preset by its name, or a file with the connection's extra fields."""
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


def json_object(words: str, *, example: str = '{"max_tokens": 200}') -> dict[str, Any]:
    """A JSON object from the command line."""
    try:
        value = json.loads(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"not JSON ({error}), but an object such as {example} is needed: {words}"
        ) from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object such as {example}: {words}")
    return value


def _types_object(words: str) -> dict[str, Any]:
    return json_object(words, example='{"id": "integer"}')


def time_span(words: str) -> timedelta:
    """A time such as 6h, 90m or 1h30m."""
    match = _TIME_SPAN.fullmatch(words)
    parts = {unit: int(number) for unit, number in match.groupdict().items() if number} if match else {}
    if not any(parts.values()):
        raise argparse.ArgumentTypeError(f"is {words!r}; it is a time such as 6h, 90m or 1h30m")
    return timedelta(**parts)


def at_least_one(words: str) -> int:
    """A whole number, 1 or more."""
    try:
        number = int(words)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"is {words!r}; it is a whole number, 1 or more")
    return number


def _json_file(path: str) -> dict[str, Any]:
    return json_object(text_of(Path(path)))


def text_of(path: Path) -> str:
    """The text of a file. Raises ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        # A text in its place is an easy mistake.
        is_text = re.search(r"\s", str(path)) and not re.search(r"\.\w+$", str(path))
        hint = "; save the text in a file and give its name" if is_text else ""
        raise ConfigError(f"{path}: no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def names(words: str) -> tuple[str, ...]:
    """Column names separated by commas."""
    return tuple(name for name in (word.strip() for word in words.split(",")) if name)
