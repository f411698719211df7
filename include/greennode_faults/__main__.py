"""`python -m greennode_faults`: run the fault matrix and print it; 0 if every promise was kept, 1 if not."""
# ruff: noqa: T201 - this module prints its results

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from greennode_faults.airflow_matrix import run_airflow
from greennode_faults.case import Case, Outcome
from greennode_faults.catalogue import SINGLES, mixtures
from greennode_faults.dialect_runs import DialectRun, run_dialects
from greennode_faults.engine import bench, run_cases
from greennode_faults.interleavings.tally import heading as heading_of_tallies
from greennode_faults.interleavings.tally import in_window, play_all
from greennode_faults.kills import SPLIT, Steps, each_step
from greennode_faults.live import run_live
from greennode_faults.live_faults import live_outcomes
from greennode_faults.outcome_table import as_json, heading, line

_WORKERS = 2
_PROBED_RIGHT = 0.95


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen part."""
    options = _parser().parse_args(arguments)
    if options.command == "interleavings":
        return run_interleavings(options)
    if options.command == "dialects":
        return run_generated_dialects(options)
    logging.basicConfig(level=logging.CRITICAL if options.quiet else logging.WARNING, format="    %(message)s")
    print(heading(), flush=True)
    outcomes = []
    began = time.monotonic()
    for outcome in options.run(options):
        print(line(outcome), flush=True)
        outcomes.append(outcome)
    wrong = [outcome for outcome in outcomes if outcome.problems]
    if options.json:
        options.json.write_text(json.dumps([as_json(outcome) for outcome in outcomes], indent=1, ensure_ascii=False))
    print(
        f"\n{len(outcomes)} cases, {len(outcomes) - len(wrong)} ok, {len(wrong)} not; "
        f"{sum(outcome.needed for outcome in outcomes):,} requests needed, "
        f"{sum(outcome.billed for outcome in outcomes):,} billed; {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong or not outcomes else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m greennode_faults", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the outcomes to this file")
    parser.add_argument("--quiet", action="store_true", help="do not show the engine's log")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    engine = commands.add_parser("engine", help="the engine under every fault, mixtures of faults, and kills")
    engine.add_argument("--mixtures", type=int, default=200, metavar="N", help="random combinations; default: 200")
    engine.add_argument("--seed", type=int, default=1, help="of the combinations; default: 1")
    engine.add_argument("--stride", type=int, default=1, metavar="N", help="stop at every N-th step only; default: 1")
    engine.add_argument("--only", metavar="TEXT", help="cases whose group or name holds this text")
    engine.set_defaults(run=_engine)
    airflow = commands.add_parser("airflow", help="a real Airflow: kills, zombies, clears and marks, outages")
    airflow.add_argument("--quick", action="store_true", help="only the few most important cases")
    airflow.add_argument("--only", metavar="TEXT", help="cases whose group or name holds this text")
    airflow.set_defaults(run=_airflow)
    late = commands.add_parser("interleavings", help="workers that are stopped at every step while others go on")
    late.add_argument("--seed", type=int, default=1, help="of the first random schedule; default: 1")
    late.add_argument(
        "--schedules",
        type=int,
        default=20_000,
        metavar="N",
        help="schedules in all, if there are fewer hold-ups; default: 20,000",
    )
    late.add_argument("--only", metavar="TEXT", default="", help="scenes whose name or store holds this text")
    dialects = commands.add_parser("dialects", help="unknown servers, drawn from seeds")
    dialects.add_argument("--seed", type=int, default=1, help="the first seed; default: 1")
    dialects.add_argument("--count", type=int, default=500, metavar="N", help="how many servers; default: 500")
    live = commands.add_parser("live", help="the harmless cases, against a server that you name")
    live.add_argument("--base-url", required=True, metavar="URL")
    live.add_argument("--model", required=True)
    live.add_argument("--profile", default="greennode", metavar="NAME|FILE", help="a preset, or what probe has written")
    live.add_argument("--state", type=Path, required=True, metavar="DIR", help="where a second start continues")
    live.add_argument("--wait-seconds", type=float, default=3600, help="how long to wait for batches; default: 3600")
    live.set_defaults(run=run_live)
    return parser


def _airflow(options: argparse.Namespace) -> Iterator[Outcome]:
    return run_airflow(quick=options.quick, only=options.only)


def _engine(options: argparse.Namespace) -> Iterator[Outcome]:
    cases = [
        case
        for case in (*SINGLES, *mixtures(options.mixtures, seed=options.seed))
        if options.only is None or options.only in f"{case.group} {case.name}"
    ]
    # Sorted by dialect, so that few emulators are started.
    cases.sort(key=lambda case: case.dialect != "openai")
    chunks = [cases[start : start + 10] for start in range(0, len(cases), 10)]
    with ProcessPoolExecutor(_WORKERS) as pool:
        for outcomes in pool.map(_run_chunk, chunks):
            yield from outcomes
    if options.only is None:
        with bench("openai") as stage:
            steps = Steps(stage.emulator, stage.wanted)
            yield from each_step(steps, "kill", stride=options.stride)
            yield from each_step(steps, "pause", stride=options.stride)
    if options.only is None or options.only in "split":
        with bench("openai") as stage:
            steps = Steps(stage.emulator, stage.wanted, SPLIT)
            # The job's three shards are split alike.
            yield from each_step(steps, "kill", stride=5 * options.stride)
            yield from each_step(steps, "pause", stride=5 * options.stride)
    yield from live_outcomes(only=options.only, stride=options.stride)


def run_interleavings(options: argparse.Namespace) -> int:
    """Print how many schedules were played, and how they ended; 0 if none lost a row or paid twice."""
    logging.basicConfig(level=logging.CRITICAL + 1)
    began = time.monotonic()
    print(heading_of_tallies(), flush=True)
    tallies = []
    for tally in play_all(seed=options.seed, total=options.schedules, only=options.only):
        print(tally, flush=True)
        tallies.append(tally)
    wrong = sum(len(tally.wrong) for tally in tallies)
    print(in_window(tallies))
    print(
        f"\n{sum(tally.schedules for tally in tallies):,} schedules "
        f"({sum(tally.schedules for tally in tallies if tally.kind == 'hold-up'):,} single hold-ups, all there are), "
        f"{sum(len(tally.window) for tally in tallies):,} of them in the window of guarantees.md, {wrong:,} wrong; "
        f"in the others {sum(tally.needed for tally in tallies):,} requests needed, "
        f"{sum(tally.billed for tally in tallies):,} billed; {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong or not tallies else 0


def run_generated_dialects(options: argparse.Namespace) -> int:
    """Print how runs on servers of seeds end; 0 if none ends wrong and 95 % end right with the probe's profile."""
    logging.basicConfig(level=logging.CRITICAL + 1)
    began = time.monotonic()
    print("  seed  default probed  seconds  what the server does differently", flush=True)
    seeds = range(options.seed, options.seed + options.count)
    chunks = [seeds[start : start + 10] for start in range(0, len(seeds), 10)]
    runs = []
    with ProcessPoolExecutor(_WORKERS) as pool:
        for chunk in pool.map(_run_seeds, chunks):
            for run in chunk:
                print(run, flush=True)
                runs.append(run)
    ends = [(run.default.end, run.probed.end) for run in runs]
    wrong = sum("wrong" in pair for pair in ends)
    right = sum(probed == "right" for _, probed in ends)
    print(
        f"\n{len(runs)} servers; default profile: {sum(default == 'right' for default, _ in ends)} right, "
        f"{sum(default == 'stopped' for default, _ in ends)} stopped by an error that names a field; the probe's "
        f"profile: {right} right ({100 * right / max(len(runs), 1):.1f} %); {wrong} wrong; "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if wrong or not runs or right < _PROBED_RIGHT * len(runs) else 0


def _run_seeds(seeds: range) -> list[DialectRun]:
    return list(run_dialects(seeds))


def _run_chunk(cases: list[Case]) -> list[Outcome]:
    return list(run_cases(cases))


if __name__ == "__main__":
    sys.exit(main())
