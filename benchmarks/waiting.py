"""Waiting triggers in one event loop, on a server that takes a second a call, and peers beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from own_process import StepError
from peers import environment_of

from greennode_local.airflow_home import inherited_environment

_HERE = Path(__file__).parent
_DRIVER = _HERE / "peer_drivers" / "waiting_triggers.py"
_PROJECT = _HERE.parent
# By number of triggers: the time for the first poll of each, and the time in which the steady state is measured.
_SETTLE_SECONDS = {1_000: 60, 10_000: 180}
_MEASURE_SECONDS = {1_000: 180, 10_000: 360}
# They end one by one, evenly over the first part of the time; a package slower than the rest of it misses some.
ENDS = 50
_ENDING_SHARE = 0.5


@dataclass(frozen=True)
class Waited:
    """The cost of one package for so many triggers. Seconds.

    interval: the longest time between two polls of a batch; noticed: how many of the ends, and late_…: how long after;
    lag_…: how late the event loop was; idle_p99: that of another process at the same time, which does nothing.
    """

    name: str
    batches: int
    calls_per_second: float
    interval: float
    noticed: int
    late_mean: float
    late_max: float
    lag_p99: float
    lag_max: float
    idle_p99: float
    cpu_percent: float
    peak_mb: float


PACKAGES = {
    "greennode": "GreenNodeBatchTrigger",
    "common_ai": "common-ai 1.0.0 LLMBatchTrigger",
    "openai": "openai 2.2.0 OpenAIBatchTrigger",
}


def measure_waiting(package: str, batches: int, work: Path) -> Waited:
    """Run so many triggers. Raises StepError if they cannot run, or ended before the measurement."""
    python = Path(sys.executable) if package == "greennode" else environment_of(package)
    settle, measure = (_near(seconds, batches) for seconds in (_SETTLE_SECONDS, _MEASURE_SECONDS))
    with _server(batches) as url, httpx.Client(base_url=url, timeout=60) as control:
        times = (batches, settle, measure)
        environment = _environment(work, url)
        with (
            _driver(python, package, times, work, environment) as driver,
            _driver(Path(sys.executable), "nothing", times, work, environment) as idle,
        ):
            if _line_of(driver) != "steady":
                last = _log_of(work, package).splitlines()[-1:]
                raise StepError(f"it ended before it could be measured; the end of its log: {' '.join(last)}")
            control.get("/_figures")
            _end_some(control, batches, measure)
            said = _line_of(driver)
            figures = control.get("/_figures").json()
            _line_of(idle)
            idle_said = _line_of(idle)
    if not said:
        raise StepError(f"{package}: {_log_of(work, package)}")
    return _waited(package, batches, json.loads(said), json.loads(idle_said), figures)


@contextmanager
def _driver(
    python: Path, package: str, times: tuple[int, int, int], work: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    command = [str(python), str(_DRIVER), package, *(str(number) for number in times)]
    with (
        (work / f"{package}.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        # An event loop that is blocked for long does not end by itself.
        patience = threading.Timer(1.3 * sum(times[1:]) + 60, process.kill)
        patience.start()
        try:
            yield process
        finally:
            patience.cancel()
            process.kill()


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _log_of(work: Path, package: str) -> str:
    return (work / f"{package}.log").read_text(errors="replace")[-2000:]


def _end_some(control: httpx.Client, batches: int, measure: int) -> None:
    for number in range(ENDS):
        time.sleep(measure * _ENDING_SHARE / ENDS)
        # Anywhere in the list.
        control.post("/_end", json=[f"batch_{number * 7919 % batches:06}"])


def _waited(package: str, batches: int, said: dict[str, Any], idle: dict[str, Any], figures: dict[str, Any]) -> Waited:
    ended = figures["ended"]
    late = [said["noticed"][batch_id] - at for batch_id, at in ended.items() if batch_id in said["noticed"]]
    if said["failures"]:
        raise StepError(f"{package}: triggers failed: {said['failures']}")
    return Waited(
        name=PACKAGES[package],
        batches=batches,
        calls_per_second=sum(figures["calls"].values()) / said["seconds"],
        interval=figures["longest"],
        noticed=len(late),
        late_mean=sum(late) / len(late) if late else float("nan"),
        late_max=max(late, default=float("nan")),
        lag_p99=said["lag_p99"],
        lag_max=said["lag_max"],
        idle_p99=idle["lag_p99"],
        cpu_percent=100 * said["cpu_seconds"] / said["seconds"],
        peak_mb=said["peak_mb"],
    )


def waiting_table(measured: Sequence[Waited]) -> Iterator[str]:
    """One line a package and number of triggers."""
    yield (
        f"  {'':<34} {'triggers':>8} {'calls/s':>8} {'interval':>9} {'noticed':>8} {'after s':>8} {'at most':>8} "
        f"{'lag p99':>8} {'idle':>8} {'CPU %':>6} {'peak MB':>8}"
    )
    for one in measured:
        yield (
            f"  {one.name:<34} {one.batches:>8,} {one.calls_per_second:>8.2f} {one.interval:>9.0f} "
            f"{f'{one.noticed}/{ENDS}':>8} {one.late_mean:>8.1f} {one.late_max:>8.1f} {one.lag_p99:>8.3f} "
            f"{one.idle_p99:>8.3f} {one.cpu_percent:>6.1f} {one.peak_mb:>8.0f}"
        )


@contextmanager
def _server(batches: int) -> Iterator[str]:
    command = [sys.executable, str(_HERE / "batch_server.py"), str(batches)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def _environment(work: Path, url: str) -> dict[str, str]:
    connection = {"host": f"{url}/v1", "password": "none"}
    return {
        **inherited_environment(os.environ),
        "HOME": str(work),
        "PYTHONPATH": os.pathsep.join(str(_PROJECT / name) for name in ("include", "plugins")),
        "AIRFLOW_HOME": str(work / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_GREENNODE_BENCH": json.dumps({"conn_type": "greennode", **connection}),
        "AIRFLOW_CONN_OPENAI_BENCH": json.dumps({"conn_type": "openai", **connection}),
        "AIRFLOW_CONN_LLM_BENCH": json.dumps({"conn_type": "pydanticai", **connection}),
    }


def _near(seconds: dict[int, int], batches: int) -> int:
    return next((taken for most, taken in seconds.items() if batches <= most), seconds[max(seconds)])
