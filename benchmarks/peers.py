"""The peers: the same rows and the same emulator, each in a separate environment.

Each is run by a script in `peer_drivers/`, as its documentation recommends. Its requirements are in
`peer_drivers/NAME.txt`; its environment is made once, below `.envs/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench_request import MODEL, QUESTION
from own_process import MeasuredCommand, StepError, run_command, run_step
from whole_path import TIMEOUT_SECONDS, fast_emulator

from greennode_local.airflow_home import inherited_environment

_HERE = Path(__file__).parent
_DRIVERS = _HERE / "peer_drivers"
_ENVIRONMENTS = _HERE / ".envs"
# Nothing newer, so that an environment is the same each time it is made.
_NEWEST = "2026-11-01"


@dataclass(frozen=True)
class Peer:
    """A package, and the script that runs it."""

    name: str
    script: str


PEERS = (
    Peer("bespokelabs-curator 0.1.31", "curator"),
    Peer("llm-batch-py 0.1.8", "llm_batch_py"),
    Peer("batchlane 0.2.0", "batchlane"),
    Peer("common-ai 1.0.0 LLMBatchOperator", "common_ai"),
)


def measure_peer(peer: Peer, folder: Path) -> MeasuredCommand:
    """The cost of its process for all rows of the folder. Raises StepError if it cannot be installed or fails."""
    python = environment_of(peer.script)
    work = folder / peer.script
    work.mkdir()
    out = work / "answers.parquet"
    with fast_emulator(work) as emulator:
        command = [
            *(str(python), str(script_of(peer.script))),
            *(str(folder / "rows.parquet"), str(work), emulator.base_url, MODEL, QUESTION, str(out)),
        ]
        connection = f'{{"conn_type":"pydanticai","host":"{emulator.base_url}","password":"{emulator.api_key}"}}'
        environment = {
            **inherited_environment(os.environ),
            "HOME": str(work),
            "OPENAI_API_KEY": emulator.api_key,
            "AIRFLOW_HOME": str(work / "airflow"),
            "AIRFLOW_CONN_LLM": connection,
            "TELEMETRY_ENABLED": "false",
        }
        measured = run_command(command, env=environment, cwd=work, timeout_seconds=TIMEOUT_SECONDS)
    run_step(folder, "checked_rows.check_answered", str(out))
    shutil.rmtree(work)
    return measured


def script_of(name: str) -> Path:
    """The script that runs a peer."""
    return _DRIVERS / f"{name}.py"


def environment_of(name: str) -> Path:
    """The Python of a peer's environment, which is made if it does not exist."""
    folder = _ENVIRONMENTS / name
    made = folder / ".made"
    wanted = (_DRIVERS / f"{name}.txt").read_text()
    if not made.exists() or made.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))
        python = str(folder / "bin" / "python")
        _install([uv, "venv", "--quiet", "--no-config", "--python", sys.executable, str(folder)])
        _install(
            [
                *(uv, "pip", "install", "--quiet", "--no-config", "--exclude-newer", _NEWEST, "--python", python),
                *("--requirement", str(_DRIVERS / f"{name}.txt")),
            ]
        )
        made.write_text(wanted)
    return folder / "bin" / "python"


def _install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StepError(f"cannot be installed:\n{done.stderr[-2000:]}")
