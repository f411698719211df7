"""The cost of the engine's steps at one size, beside the floor on the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from own_process import Measured, run_step
from rounds import Round, steps_of


@dataclass
class Figures:
    """The best of several runs of one part: the least seconds, and the most memory of all of them."""

    cpu_seconds: float = float("inf")
    wall_seconds: float = float("inf")
    peak_mb: float = 0.0

    def take(self, cpu: float, wall: float, peak_mb: float) -> None:
        """One more run."""
        self.cpu_seconds = min(self.cpu_seconds, cpu)
        self.wall_seconds = min(self.wall_seconds, wall)
        self.peak_mb = max(self.peak_mb, peak_mb)


@dataclass
class StepFigures:
    """One size. engine, floor: by part; `table:` is before those from and to PostgreSQL."""

    rows: int
    repeats: int
    engine: dict[str, Figures] = field(default_factory=dict)
    floor: dict[str, Figures] = field(default_factory=dict)
    started_mb: dict[str, float] = field(default_factory=dict)

    def take(self, side: str, measured: Measured, before: str = "") -> None:
        """One more run of a step."""
        figures = self.engine if side == "engine" else self.floor
        for part, cpu in measured.cpu.items():
            figures.setdefault(before + part, Figures()).take(cpu, measured.wall[part], measured.peak_mb)
        self.started_mb[side] = max(self.started_mb.get(side, 0.0), measured.started_mb)

    def summed(self, side: str, *parts: str) -> Figures:
        """Several parts, one after the other."""
        found = [(self.engine if side == "engine" else self.floor)[part] for part in parts]
        return Figures(
            cpu_seconds=sum(one.cpu_seconds for one in found),
            wall_seconds=sum(one.wall_seconds for one in found),
            peak_mb=max(one.peak_mb for one in found),
        )


def measure_steps(folder: Path, rows: int, *, repeats: int, dsn: str | None) -> StepFigures:
    """Run every step of the engine and of the floor in turn. dsn: a database for the source and target tables."""
    figures = StepFigures(rows, repeats)
    for number in range(repeats):
        for _, step in steps_of(Round(folder, dsn, is_first=number == 0)):
            measured = run_step(folder, step.name, dsn=dsn or "")
            if step.side is not None:
                figures.take(step.side, measured, step.before)
    return figures


def as_json(figures: StepFigures) -> dict[str, Any]:
    """The figures, per row and per million rows."""
    return {
        "rows": figures.rows,
        "repeats": figures.repeats,
        "started_mb": figures.started_mb,
        **{
            side: {part: _one_as_json(one, figures.rows) for part, one in found.items()}
            for side, found in (("engine", figures.engine), ("floor", figures.floor))
        },
    }


def _one_as_json(one: Figures, rows: int) -> dict[str, float]:
    return {
        "rows_per_second": round(rows / one.wall_seconds),
        "cpu_seconds_per_million": round(one.cpu_seconds / rows * 1e6, 3),
        "peak_mb": round(one.peak_mb, 1),
    }
