"""`greennode-batch probe`: options -> Probe -> exit code."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from upath import UPath

from greennode_batch.api.endpoint import ends_in_version
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.interactive.api_key import api_key
from greennode_batch.interactive.progress import ProgressDisplay
from greennode_batch.probe.probe_run import RESUME, Outcome, Probe
from greennode_batch.probe.saved_profile import check_connection, save_profile
from greennode_batch.probe.state import State
from greennode_batch.staging.folders import read_json

OPEN = 3
"""The exit code of a probe whose batches have not ended."""


def probe_command(options: argparse.Namespace, progress: ProgressDisplay) -> int:
    """Probe; the exit code: 0 all steps are done, 1 it ended early, 3 batches are still open."""

    def say(words: str) -> None:
        progress.pause()
        print(words, flush=True)  # noqa: T201 - this is the command's output

    key = api_key()
    folder, base_url, profile, has_version = _where(options)
    if options.save:
        check_connection(options.save, base_url)
    probe = Probe(
        base_url,
        key,
        folder,
        model=options.model,
        profile=ApiProfile.from_extra({"profile": profile, "base_url_version": has_version}),
        allow_http_hosts=options.allow_http_hosts,
        wait_seconds=options.wait,
        keep=options.keep,
        say=say,
        progress=progress,
    )
    outcome = probe.run()
    code = show(outcome, folder, say)
    if options.save and outcome.may_be_saved:
        try:
            save_profile(options.save, base_url, outcome.found.extra, say=say)
        except GreenNodeError as error:
            error.add_note(f"To save it later: greennode-batch probe --resume {folder} --save {options.save}")
            raise
    elif options.save:
        say(f"Nothing was saved in the connection {options.save}: the probe is not finished")
    return code


def show(outcome: Outcome, folder: UPath, say: Callable[[str], None]) -> int:
    """Print the report; returns the exit code. Raises ConfigError for a probe that ended early."""
    say("")
    say(outcome.text)
    say(f"The raw replies and the reports are in {folder}")
    go_on = f"To go on, now or later: greennode-batch probe --resume {folder}"
    if outcome.is_stopped:
        stop = KeyboardInterrupt()
        stop.add_note(go_on)
        raise stop
    if outcome.state.ended is not None:
        end = ConfigError(f"the probe ended early: {outcome.state.ended}")
        if outcome.waits:
            end.add_note(go_on)
        raise end
    if outcome.waits:
        say(go_on)
    return OPEN if outcome.waits else 0


def _where(options: argparse.Namespace) -> tuple[UPath, str, str, bool]:
    """The folder, the base URL, the preset, and whether the URL has a version: by options, or of the probe resumed."""
    if options.resume is not None:
        folder = UPath(options.resume)
        state = read_json(folder / RESUME, State)
        if state is None:
            raise ConfigError(f"{folder}: has no {RESUME}, so there is no probe to go on with")
        base_url = options.base_url or state.base_url
        # An address that the probe began with needs no --no-version again.
        has_version = options.base_url_version and (base_url != state.base_url or ends_in_version(base_url))
        return folder, base_url, options.profile or state.preset, has_version
    if options.base_url is None:
        raise ConfigError("--base-url is missing: the API's address, such as https://HOST/v1")
    folder = UPath(options.out or Path(time.strftime("probe-%Y%m%d-%H%M%S")))
    if (folder / RESUME).exists():
        raise ConfigError(f"{folder} holds an earlier probe: continue with --resume {folder}, or set another --out")
    return folder, options.base_url, options.profile or "greennode", options.base_url_version
