"""`greennode-batch COMMAND …`: options -> a command -> an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.abc import MetaPathFinder
from typing import Any

from greennode_batch.cli.commands import (
    add_preview_command,
    add_probe_command,
    add_run_command,
    add_try_command,
)
from greennode_batch.cli.job_options import given_by_options, missing_options
from greennode_batch.cli.option_parser import OptionParser
from greennode_batch.errors import GreenNodeError
from greennode_batch.interactive.progress import ProgressDisplay
from greennode_batch.wording import options_of_command

FAILED, STOPPED = 1, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. arguments: those of this process by default.

    0: done. 1: failed, with the reason on stderr. 2: wrong usage. 3: a probe whose batches are still open. 130: stopped
    with Ctrl-C.
    """
    options = make_parser().parse_args(arguments)
    if missing := missing_options(options):
        options.parser.error(missing)
    logging.getLogger().setLevel(logging.INFO)
    for name in ("httpx", "airflow"):  # a DAG file loads the second
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with _pandas_kept_out() if arguments is None else nullcontext():
            command = pkgutil.resolve_name(options.command)
        with options_of_command(given_by_options(options.parser)), ProgressDisplay() as progress:
            return int(command(options, progress))
    except KeyboardInterrupt as stop:
        return _end(STOPPED, "stopped", stop)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Output that is still pending at the exit is dropped.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (GreenNodeError, OSError) as error:
        return _end(FAILED, str(error), error)


class _NoPandas(MetaPathFinder):
    """Refuses to find pandas."""

    def find_spec(self, name: str, *_where: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"no {name} while a command starts")


@contextmanager
def _pandas_kept_out() -> Iterator[None]:
    """Inside, pandas cannot be imported. Only for a process that runs one command and nothing else.

    pyarrow looks for pandas once, at its first array, and goes on without. Else every command would wait for pandas, a
    third of the start. What needs it imports it later.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def make_parser() -> argparse.ArgumentParser:
    """The command with all its subcommands."""
    parser = OptionParser(
        prog="greennode-batch", description="Batch inference with GreenNode: a table in, a table out."
    )
    _add_commands(parser)
    return parser


def command_parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its name."""
    return dict(_add_commands(OptionParser(prog="greennode-batch")).choices)


def _add_commands(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_preview_command(commands)
    add_try_command(commands)
    add_run_command(commands)
    add_probe_command(commands)
    return commands


def _end(code: int, words: str, error: BaseException) -> int:
    """Print the reason, and how to continue."""
    said = ". ".join([words.rstrip(". "), *getattr(error, "__notes__", ())])
    print(f"greennode-batch: {said}", file=sys.stderr)  # noqa: T201 - this is the command's output
    return code
