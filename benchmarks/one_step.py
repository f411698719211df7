"""The process of one step: `python one_step.py FOLDER MODULE.FUNCTION JSON` prints its cost as JSON."""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import msgspec
from bench_folder import BenchFolder
from profiles import profiler
from stopwatch import Stopwatch, memory_mb


def main() -> None:
    """Import first, so that no measured time includes imports."""
    path, name, arguments = sys.argv[1:]
    module, _, function = name.partition(".")
    step = getattr(importlib.import_module(module), function)
    # pyarrow imports it late, at the cost of the first step. Not before the engine, which sets Arrow's options.
    importlib.import_module("pandas")
    # Else a full collection walks all that was imported, some 75 ms, in whichever step it happens to fall.
    gc.collect()
    gc.freeze()
    watch = Stopwatch()
    started_mb = memory_mb("VmRSS")
    given = [watch] if "watch" in inspect.signature(step).parameters else msgspec.json.decode(arguments)
    profile = os.environ.get("BENCH_PROFILE")
    with profiler() if profile else nullcontext() as profiled:
        rows = step(BenchFolder(Path(path)), *given)
    if profiled is not None:
        profiled.dump_stats(profile)
    said = {"rows": rows, "parts": watch.parts, "started_mb": started_mb, "peak_mb": memory_mb("VmHWM")}
    print(msgspec.json.encode(said).decode())


if __name__ == "__main__":
    main()
