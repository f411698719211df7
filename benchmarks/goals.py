"""The goals for the engine, and whether the measurements meet them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from airflow_scale import AirflowFigures
from many_shards import ManyShards
from own_process import MeasuredCommand
from step_figures import Figures, StepFigures
from waiting import ENDS, Waited

MAX_CPU_PER_MILLION = 10.0
MAX_TIMES_FLOOR = 1.5
MAX_PEAK_MB = 300.0
MAX_GROWTH_MB = 50.0
MAX_TASK_MB = 400.0
MAX_SLOWDOWN = 1.2
MAX_SHARE_OF_FULL = 0.1
LESS_CPU_THAN_PEERS = 10.0
MAX_SHARE_OF_PEER_MEMORY = 1 / 3
MAX_CALLS_PER_SECOND = 2.0
MAX_LAG_SECONDS = 0.1
MAX_TRIGGERER_MB = 500.0
MAX_LOOP_SECONDS = 5.0
MAX_ANSWER_SECONDS = 2.0
BASE_ROWS = 100_000
"""Larger sizes are compared with this one."""

ENGINE_PARTS = ("build", "collect", "join")
FLOOR_PARTS = ("build", "collect and join")


@dataclass(frozen=True)
class Verdict:
    """One goal: what it is, what was measured, and whether it is met."""

    goal: str
    measured: str
    is_kept: bool

    def __str__(self) -> str:
        return f"{'ok  ' if self.is_kept else 'OVER'}  {self.goal}: {self.measured}"


def step_verdicts(sizes: Sequence[StepFigures]) -> Iterator[Verdict]:
    """Cost and memory at each size, and growth from 100,000 rows on."""
    for size in sizes:
        if size.rows < min(BASE_ROWS, sizes[-1].rows):
            continue  # costs that are paid once would hide all others
        engine, floor = size.summed("engine", *ENGINE_PARTS), size.summed("floor", *FLOOR_PARTS)
        million = engine.cpu_seconds / size.rows * 1e6
        times = engine.cpu_seconds / floor.cpu_seconds
        peak = max(one.peak_mb for one in size.engine.values())
        at = f"at {size.rows:,} rows"
        yield Verdict(
            f"build, collect and join {at}, at most {MAX_CPU_PER_MILLION:g} CPU seconds per million rows",
            f"{million:.1f}",
            million <= MAX_CPU_PER_MILLION,
        )
        yield Verdict(
            f"the same, at most {MAX_TIMES_FLOOR:g} times the floor", f"{times:.2f}", times <= MAX_TIMES_FLOOR
        )
        yield Verdict(f"peak memory of each step {at}, at most {MAX_PEAK_MB:g} MB", f"{peak:.0f}", peak <= MAX_PEAK_MB)
        if "table: build changed" in size.engine:
            yield _of_changed_rows(size, at)
    yield from _growth(sizes)


def _of_changed_rows(size: StepFigures, at: str) -> Verdict:
    full, scan, changed = (size.engine[f"table: {part}"] for part in ("build", "scan", "build changed"))
    cpu = (changed.cpu_seconds - scan.cpu_seconds) / full.cpu_seconds
    wall = (changed.wall_seconds - scan.wall_seconds) / full.wall_seconds
    return Verdict(
        f"build of one changed row in a hundred {at}, beyond the scan at most {MAX_SHARE_OF_FULL:g} of a full build",
        f"{cpu:.2f} of its CPU, {wall:.2f} of its time",
        max(cpu, wall) <= MAX_SHARE_OF_FULL,
    )


def _growth(sizes: Sequence[StepFigures]) -> Iterator[Verdict]:
    base = next((size for size in sizes if size.rows == BASE_ROWS), None)
    for size in sizes:
        if base is None or size.rows <= BASE_ROWS:
            continue
        common = [part for part in size.engine if part in base.engine]
        grown = {part: size.engine[part].peak_mb - base.engine[part].peak_mb for part in common}
        most = max(grown, key=lambda part: grown[part])
        yield Verdict(
            f"peak memory at {size.rows:,} rows within {MAX_GROWTH_MB:g} MB of that at {BASE_ROWS:,}",
            f"{grown[most]:+.0f} MB in {most}",
            grown[most] <= MAX_GROWTH_MB,
        )
        slower = {part: _growth_of(size.engine[part], size.rows, base.engine[part]) for part in common}
        slowest = max(slower, key=lambda part: slower[part])
        beside = "collect and join" if slowest.endswith(("collect", "join")) else slowest
        floor = ""
        if beside in size.floor:
            floor = f" (the floor: {_growth_of(size.floor[beside], size.rows, base.floor[beside]) - 1:+.0%})"
        yield Verdict(
            f"CPU per row at {size.rows:,} rows within {MAX_SLOWDOWN - 1:.0%} of that at {BASE_ROWS:,}",
            f"{slower[slowest] - 1:+.0%} in {slowest}{floor}",
            slower[slowest] <= MAX_SLOWDOWN,
        )


def _growth_of(large: Figures, rows: int, base: Figures) -> float:
    """The ratio of its CPU per row to that at the base size."""
    return large.cpu_seconds / rows / (base.cpu_seconds / BASE_ROWS)


def whole_path_verdicts(measured: Mapping[int, MeasuredCommand]) -> Iterator[Verdict]:
    """The command's memory and growth."""
    base = measured.get(BASE_ROWS)
    for rows, command in measured.items():
        yield Verdict(
            f"peak memory of `greennode-batch run` at {rows:,} rows, at most {MAX_PEAK_MB:g} MB",
            f"{command.peak_mb:.0f}",
            command.peak_mb <= MAX_PEAK_MB,
        )
        if base is not None and rows > BASE_ROWS:
            grown = command.peak_mb - base.peak_mb
            yield Verdict(
                f"the same within {MAX_GROWTH_MB:g} MB of that at {BASE_ROWS:,}",
                f"{grown:+.0f} MB",
                grown <= MAX_GROWTH_MB,
            )


def peer_verdicts(ours: MeasuredCommand, peers: Mapping[str, MeasuredCommand]) -> Iterator[Verdict]:
    """The whole path beside each peer's."""
    for name, peer in peers.items():
        less = peer.cpu_seconds / ours.cpu_seconds
        yield Verdict(
            f"{name} takes at least {LESS_CPU_THAN_PEERS:g} times our CPU", f"{less:.1f}", less >= LESS_CPU_THAN_PEERS
        )
        share = ours.peak_mb / peer.peak_mb
        yield Verdict(
            f"our memory is at most a third of that of {name}", f"{share:.2f}", share <= MAX_SHARE_OF_PEER_MEMORY
        )


def airflow_verdicts(figures: AirflowFigures) -> Iterator[Verdict]:
    """The memory of tasks."""
    largest = max(figures.steps, key=lambda name: figures.steps[name].peak_mb)
    peak = figures.steps[largest].peak_mb
    yield Verdict(
        f"no task above {MAX_TASK_MB:g} MB at {figures.rows:,} rows through Airflow",
        f"{peak:.0f} MB in {largest}",
        peak <= MAX_TASK_MB,
    )


def shards_verdicts(measured: ManyShards) -> Iterator[Verdict]:
    """The scheduler's turns and the API server's answers while the shards run."""
    at = f"while {measured.shards:,} shards run"
    longest = max(measured.loops)
    yield Verdict(
        f"no turn of the scheduler over {MAX_LOOP_SECONDS:g} s {at}", f"{longest:.2f}", longest <= MAX_LOOP_SECONDS
    )
    for name, seconds in measured.answers.items():
        late = float(np.percentile(seconds, 95))
        yield Verdict(
            f"{name}: the API server answers within {MAX_ANSWER_SECONDS:g} s at the 95th percentile {at}",
            f"{late:.2f}",
            late < MAX_ANSWER_SECONDS,
        )


def waiting_verdicts(measured: Sequence[Waited]) -> Iterator[Verdict]:
    """Calls, the event loop, memory, and whether ends are noticed, for so many triggers."""
    for one in measured:
        at = f"with {one.batches:,} triggers that wait"
        calls = one.calls_per_second
        yield Verdict(
            f"at most {MAX_CALLS_PER_SECOND:g} API calls a second {at}", f"{calls:.2f}", calls <= MAX_CALLS_PER_SECOND
        )
        yield Verdict(
            f"the event loop late by less than {MAX_LAG_SECONDS:g} s at the 99th percentile {at}",
            f"{one.lag_p99:.3f} (a process that does nothing: {one.idle_p99:.3f})",
            one.lag_p99 < MAX_LAG_SECONDS,
        )
        yield Verdict(f"less than {MAX_TRIGGERER_MB:g} MB {at}", f"{one.peak_mb:.0f}", one.peak_mb < MAX_TRIGGERER_MB)
        yield Verdict(
            f"an end noticed within one interval {at}",
            f"{one.noticed} of {ENDS}, at most {one.late_max:.0f} s after it; interval {one.interval:.0f} s",
            one.noticed == ENDS and one.late_max <= one.interval,
        )
