"""Where the engine's steps spend their time, by function. The profiler slows calls, so only shares matter."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections.abc import Iterator
from pathlib import Path

from own_process import run_step

STEPS = ("build_from_file", "collect_typed", "collect", "write_to_files", "report_files")
_FUNCTIONS = 12


def profile_steps(folder: Path) -> Iterator[str]:
    """The profile of each step on the rows of the folder, as text."""
    for step in STEPS:
        out = folder / f"{step}.profile"
        run_step(folder, f"engine_steps.{step}", profile=out)
        if step == "build_from_file":
            run_step(folder, "made_rows.write_engine_results")
        text = io.StringIO()
        pstats.Stats(str(out), stream=text).sort_stats("tottime").print_stats(_FUNCTIONS)
        lines = [line for line in text.getvalue().splitlines() if line.strip() and "profile" not in line]
        yield "\n".join([step, *lines, ""])


def profiler() -> cProfile.Profile:
    """A profiler that counts CPU seconds, not the time that others take of a shared machine."""
    return cProfile.Profile(time.process_time)
