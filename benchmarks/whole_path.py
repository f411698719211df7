"""The whole path: `greennode-batch run` from a Parquet file to a Parquet file, against the emulator."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_request import MODEL, PARAMS, QUESTION
from own_process import MeasuredCommand, run_command, run_step

from greennode_local.airflow_home import inherited_environment
from greennode_local.emulator import Emulator, starting_emulator

TIMEOUT_SECONDS = 3600.0


@contextmanager
def fast_emulator(folder: Path) -> Iterator[Emulator]:
    """An emulator whose batches take no longer than their answers take to make."""
    state = folder / "emulator"
    with starting_emulator(
        state, api_key=secrets.token_hex(16), batch_seconds=0, log=folder / "emulator.log", home=folder
    ) as emulator:
        emulator.wait_until_healthy()
        yield emulator


def measure_whole_path(folder: Path) -> MeasuredCommand:
    """The cost of our process for all rows of the folder; the emulator's is not counted."""
    work = folder / "whole"
    work.mkdir()
    prompt = work / "prompt.md"
    prompt.write_text(QUESTION + "{{ text }}")
    out = work / "answers" / "answers.parquet"
    with fast_emulator(work) as emulator:
        command = [
            *(sys.executable, "-m", "greennode_batch.cli", "run", "--in", str(folder / "rows.parquet"), "--key", "id"),
            *("--prompt", str(prompt), "--model", MODEL, "--params", json.dumps(PARAMS), "--out", str(out)),
            *("--base-url", emulator.base_url, "--staging", str(work / "staging")),
        ]
        environment = {**inherited_environment(os.environ), "GREENNODE_API_KEY": emulator.api_key}
        measured = run_command(command, env=environment, cwd=work, timeout_seconds=TIMEOUT_SECONDS)
    run_step(folder, "checked_rows.check_emulated", str(out.parent))
    return measured
