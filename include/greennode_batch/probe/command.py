"""`greennode-batch probe`: options -> Probe -> exit code."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from upath import UPath

from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.errors import ConfigError
from greennode_batch.probe.probe_run import DEFAULT_WAIT_SECONDS, RESUME, Outcome, Probe
from greennode_batch.probe.state import State
from greennode_batch.staging.folders import read_json

KEY_VARIABLE = "GREENNODE_API_KEY"


def add_parser(commands: Any) -> None:
    """Add the command to the subparsers of `greennode-batch`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "probe",
        help="find out what a server speaks, and print the profile for its connection",
        description="Send a few tiny requests and two-line batches, and say what holds: models, files, batches, "
        "status words, lists, results, cancel, delete. Raw replies land in a folder without the key. "
        f"The API key is read from the environment variable {KEY_VARIABLE}.",
    )
    parser.add_argument("--base-url", metavar="URL", help="the API's address, e.g. https://HOST/v1")
    parser.add_argument("--model", help="an id of the server's model list; the first for chat if left out")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write; default: probe-DATE-TIME")
    parser.add_argument("--profile", choices=tuple(PRESETS), default=None, help="what to try first; default: greennode")
    parser.add_argument(
        "--wait",
        type=float,
        default=DEFAULT_WAIT_SECONDS,
        metavar="SECONDS",
        help=f"how long to wait for batches; default: {DEFAULT_WAIT_SECONDS:.0f}",
    )
    parser.add_argument("--keep", action="store_true", help="leave the probe's files and batches on the server")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="look again at what an earlier probe left open")
    parser.add_argument(
        "--allow-http", action="append", default=[], metavar="HOST", help="allow http:// for this host, by name"
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Probe; the exit code: 0 all steps were taken, 1 it ended early, 3 batches are still open."""
    key = api_key()
    folder, base_url, profile = _where(options)
    probe = Probe(
        base_url,
        key,
        folder,
        model=options.model,
        profile=ApiProfile.from_extra({"profile": profile}),
        allow_http_hosts=options.allow_http,
        wait_seconds=options.wait,
        keep=options.keep,
        say=_print,
    )
    return show(probe.run(), folder)


def api_key() -> str:
    """The key, from the environment. Raises ConfigError where there is none."""
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise ConfigError(f"the environment variable {KEY_VARIABLE} is not set; it holds the API key. Nothing was sent")
    return key


def show(outcome: Outcome, folder: UPath) -> int:
    """Print the report; the exit code."""
    _print("")
    _print(outcome.text)
    _print(f"The raw replies and the reports are in {folder}")
    if outcome.waits:
        _print(f"To go on, now or later: greennode-batch probe --resume {folder}")
    if outcome.state.ended is not None:
        _print(f"The probe ended early: {outcome.state.ended}")
        return 1
    return 3 if outcome.waits else 0


def _where(options: argparse.Namespace) -> tuple[UPath, str, str]:
    """The folder, the base URL and the preset: given, or those of the probe that is resumed."""
    if options.resume is not None:
        folder = UPath(options.resume)
        state = read_json(folder / RESUME, State)
        if state is None:
            raise ConfigError(f"{folder}: has no {RESUME}, so there is no probe to go on with")
        return folder, options.base_url or state.base_url, options.profile or state.preset
    if options.base_url is None:
        raise ConfigError("--base-url is missing: the API's address, e.g. https://HOST/v1")
    folder = UPath(options.out or Path(time.strftime("probe-%Y%m%d-%H%M%S")))
    if (folder / RESUME).exists():
        raise ConfigError(f"{folder} holds an earlier probe: go on with --resume {folder}, or take another --out")
    return folder, options.base_url, options.profile or "greennode"


def _print(words: str) -> None:
    print(words, flush=True)  # noqa: T201 - this is the command's output
