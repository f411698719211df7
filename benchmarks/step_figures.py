"""What the engine's steps take at one size, beside the floor on the same bytes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from own_process import Measured, run_step


@dataclass
class Figures:
    """The best of some runs of one part: least seconds, and the most memory of all of them."""

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
        """Some parts, one after the other."""
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
        if dsn is not None:
            _build(figures, folder, "from_table", "table: ", dsn)
        _build(figures, folder, "from_file", "", "")
        for step in ("engine_steps.write_parts", "engine_steps.build_from_parts"):
            _run(figures, folder, step)
        if number == 0:
            run_step(folder, "made_rows.write_floor_results")
            run_step(folder, "made_rows.write_engine_results")
        _run(figures, folder, "engine_steps.collect_typed")
        if number == 0:
            run_step(folder, "checked_rows.check_typed")
        for step in (
            "floor.write_to_files",
            "engine_steps.collect",
            "engine_steps.write_to_files",
            "engine_steps.report_files",
        ):
            _run(figures, folder, step)
        if number == 0:
            run_step(folder, "checked_rows.check_files")
        if dsn is not None:
            _write_tables(figures, folder, dsn, is_checked=number == 0)
    return figures


def _run(figures: StepFigures, folder: Path, step: str, before: str = "", dsn: str = "") -> None:
    side = "engine" if step.startswith("engine") else "floor"
    figures.take(side, run_step(folder, step, dsn=dsn), before)


def _build(figures: StepFigures, folder: Path, source: str, before: str, dsn: str) -> None:
    shutil.rmtree(folder / "engine" / "staging", ignore_errors=True)
    _run(figures, folder, f"floor.build_{source}", before, dsn)
    _run(figures, folder, f"engine_steps.build_{source}", before, dsn)


def _write_tables(figures: StepFigures, folder: Path, dsn: str, *, is_checked: bool) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bench_floor, bench_engine")
    for step in ("floor.write_to_table", "engine_steps.write_to_table", "engine_steps.report_table"):
        _run(figures, folder, step, "table: ", dsn)
    if is_checked:
        run_step(folder, "checked_rows.check_tables", dsn=dsn)
    _build_changed(figures, folder, dsn)


def _build_changed(figures: StepFigures, folder: Path, dsn: str) -> None:
    """A run over rows that the table has answered, but for one in a hundred, beside reading them and nothing else."""
    run_step(folder, "engine_steps.note_answered", dsn=dsn)
    run_step(folder, "made_rows.change_table", dsn=dsn)
    for step in ("engine_steps.scan", "engine_steps.build_changed"):
        _run(figures, folder, step, "table: ", dsn)
    run_step(folder, "checked_rows.check_asked", dsn=dsn)
    run_step(folder, "made_rows.load_table", dsn=dsn)


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
