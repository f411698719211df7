"""The printed tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from goals import ENGINE_PARTS, FLOOR_PARTS
from own_process import MeasuredCommand
from step_figures import Figures, StepFigures

# Title, the engine's parts, the floor's.
_LINES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("build", ("build",), ("build",)),
    ("collect", ("collect",), ()),
    ("collect typed answers", ("collect typed",), ()),
    ("join", ("join",), ()),
    ("build, collect and join", ENGINE_PARTS, FLOOR_PARTS),
    ("write to Parquet", ("write",), ("write",)),
    ("all of these", (*ENGINE_PARTS, "write"), (*FLOOR_PARTS, "write")),
    ("report on Parquet", ("report",), ()),
    ("read in 4 parts, summed", ("write parts",), ()),
    ("build from the parts", ("build from parts",), ()),
    ("build from PostgreSQL", ("table: build",), ("table: build",)),
    ("scan of PostgreSQL", ("table: scan",), ()),
    ("build of changed rows", ("table: build changed",), ()),
    ("write to PostgreSQL", ("table: write",), ("table: write",)),
    ("report on PostgreSQL", ("table: report",), ()),
)
TITLES = {engine[0]: title for title, engine, _ in _LINES if len(engine) == 1}
"""The title of a part of the engine in a table."""


def step_table(sizes: Sequence[StepFigures]) -> Iterator[str]:
    """One block a size."""
    for size in sizes:
        best = f", best of {size.repeats}" if size.repeats > 1 else ""
        yield f"{size.rows:,} rows{best}"
        yield f"  {'':<24} {'rows/s':>9} {'CPU s/M':>9} {'floor':>7} {'x floor':>8} {'peak MB':>8}"
        for title, engine, floor in _LINES:
            if all(part in size.engine for part in engine):
                yield _line(
                    size, title, size.summed("engine", *engine), size.summed("floor", *floor) if floor else None
                )
        engine, floor = (size.started_mb[side] for side in ("engine", "floor"))
        yield f"  of the peak, imports are {engine:.0f} MB (of the floor's {floor:.0f} MB)"
        yield ""


def _line(size: StepFigures, title: str, engine: Figures, floor: Figures | None) -> str:
    rate = f"{size.rows / engine.wall_seconds:,.0f}"
    million = 1e6 / size.rows
    beside = (
        f"{floor.cpu_seconds * million:>7.2f} {engine.cpu_seconds / floor.cpu_seconds:>8.2f}" if floor else " " * 16
    )
    return f"  {title:<24} {rate:>9} {engine.cpu_seconds * million:>9.2f} {beside} {engine.peak_mb:>8.0f}"


def command_table(measured: Iterable[tuple[str, int, MeasuredCommand]]) -> Iterator[str]:
    """One line a command, of a name and so many rows."""
    yield f"  {'':<34} {'rows':>10} {'wall s':>8} {'CPU s':>8} {'CPU s/M':>9} {'peak MB':>8}"
    for name, rows, one in measured:
        yield (
            f"  {name:<34} {rows:>10,} {one.wall_seconds:>8.1f} {one.cpu_seconds:>8.2f} "
            f"{one.cpu_seconds / rows * 1e6:>9.1f} {one.peak_mb:>8.0f}"
        )
