"""A run of thousands of shards through a real Airflow: the turns of the scheduler and the answers of the API server."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

import numpy as np
from airflow_scale import DAGS, TABLE, AirflowFigures, RunSampler, airflow_figures, airflow_table
from own_process import StepError, run_step

from greennode_airflow.ui import PAGE_PREFIX
from greennode_local.airflow_client import DAG_RUN_ENDS
from greennode_local.ports import LOOPBACK
from greennode_local.stack import WAREHOUSE, LocalStack

DAG = "bench_shards"
SHARD_ROWS = 4
"""As in the DAG."""

_TIMEOUT_SECONDS = 3 * 3600.0
_POLL_SECONDS = 1.0
# Airflow sends the milliseconds of each turn of the scheduler under this name.
_LOOP = re.compile(rb"^airflow\.scheduler\.scheduler_loop_duration:([0-9.]+)\|ms")
_MAX_DATAGRAM = 65_535


@dataclass
class ManyShards:
    """What one run took. loops: seconds of each turn of the scheduler; answers: seconds of each call, by page."""

    shards: int
    run: AirflowFigures
    loops: list[float] = field(default_factory=list)
    answers: Mapping[str, list[float]] = field(default_factory=dict)


def measure_many_shards(folder: Path, shards: int, *, say: Callable[[str], None]) -> ManyShards:
    """Run the DAG once over a table of so many shards; each second, open the pages that a person would watch."""
    rows = shards * SHARD_ROWS
    with (
        _Loops() as loops,
        LocalStack(
            folder / "stack",
            dags_folder=DAGS,
            batch_seconds=0,
            fresh=True,
            settings={
                "AIRFLOW__METRICS__STATSD_ON": "True",
                "AIRFLOW__METRICS__STATSD_HOST": LOOPBACK,
                "AIRFLOW__METRICS__STATSD_PORT": str(loops.port),
            },
            say=say,
        ) as stack,
    ):
        dsn = stack.postgres.dsn(WAREHOUSE)
        run_step(folder, "made_rows.load_table", dsn=dsn)
        stack.wait_until_ready({DAG})
        client = stack.airflow.client
        client.unpause(DAG)
        loops.seconds.clear()
        with RunSampler() as sampler:
            run_id = client.trigger(DAG)
            answers = _watch(stack, run_id, say)
        run = airflow_figures(client, DAG, run_id, rows, sampler.seen)
        run_step(folder, "checked_rows.check_emulated_table", TABLE, dsn=dsn)
    return ManyShards(shards, run, list(loops.seconds), answers)


def _watch(stack: LocalStack, run_id: str, say: Callable[[str], None]) -> Mapping[str, list[float]]:
    """Wait for the run's success; returns how long each page took to answer, second by second."""
    client = stack.airflow.client
    run = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}"
    pages = {
        "run": (run, {}),
        "50 of its tasks": (f"{run}/taskInstances", {"limit": 50}),
        "our page of the run": (f"{PAGE_PREFIX}/api/run", {"dag_id": DAG, "run_id": run_id}),
    }
    answers: dict[str, list[float]] = {name: [] for name in pages}
    began, last = time.monotonic(), ""
    while True:
        turn = time.monotonic()
        state = client.dag_run(DAG, run_id)["state"]
        for name, (path, params) in pages.items():
            asked = time.monotonic()
            # Our page does not know the run before its build begins.
            if client.open(path, **params).is_success:
                answers[name].append(time.monotonic() - asked)
        batches = stack.emulator.batch_counts()
        if (line := f"batches: {batches.batches}, requests done: {batches.completed}") != last:
            say(f"{turn - began:.0f} s: {line}")
            last = line
        if state in DAG_RUN_ENDS:
            break
        stack.check()
        if turn - began > _TIMEOUT_SECONDS:
            raise StepError(f"{DAG} is still {state} after {turn - began:.0f} s")
        time.sleep(max(0.0, _POLL_SECONDS - (time.monotonic() - turn)))
    if state != "success":
        raise StepError(f"the run of {DAG} failed: {dict(client.states(DAG, run_id))}")
    return answers


class _Loops:
    """Receives Airflow's statsd metrics. seconds: of each turn of the scheduler, in order."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.sendto(b"", (LOOPBACK, self.port))
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while datagram := self._socket.recv(_MAX_DATAGRAM):
            self.seconds += [float(found[1]) / 1000 for found in map(_LOOP.match, datagram.splitlines()) if found]


def shards_table(measured: ManyShards) -> Iterator[str]:
    """The run's steps, then the scheduler's turns and the pages."""
    yield from airflow_table(measured.run)
    yield f"  {measured.shards:,} shards: {measured.run.wall_seconds / measured.shards:.2f} s of the run for each"
    for name, seconds in {"turn of the scheduler": measured.loops, **measured.answers}.items():
        half, late = np.percentile(seconds, [50, 95])
        yield f"  {name:<26} {len(seconds):>6} median {half:.2f} s, p95 {late:.2f} s, most {max(seconds):.2f} s"
