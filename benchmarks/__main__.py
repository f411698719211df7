"""The cost of the engine: CPU, memory and rows per second of its steps and of the whole path, beside a floor and peers.

    make bench                  10,000, 100,000 and 1,000,000 rows
    make bench QUICK=1          20,000 rows once, under a minute
    make bench ROWS=10000000    this many rows, by hand: about 4 GB of disk for each million
    make bench DATA=FILE.parquet TEXT=COLUMN    the texts of a file instead of generated ones
    make bench ONLY=steps       without the whole path; ONLY=whole: nothing else
    make bench PEERS=1          only the peers and the whole path, at 100,000 rows
    make bench PROFILE=1        only where the steps' time goes, function by function
    make bench AIRFLOW=1        only 1,000,000 rows (or ROWS) from table to table through a real Airflow
    make bench WAITING=1        only 1,000 and 10,000 waiting triggers (or ROWS), and peers: most of an hour
    make bench SHARDS=5000      only a run of so many shards of 4 rows through a real Airflow: some minutes
    make bench AGAINST=COMMIT   only the steps, beside those of another commit, at 100,000 rows (or ROWS)

Prints tables and a result for each goal, and writes the same as JSON. Slow figures do not fail it, except with
AGAINST; it fails if a row has no answer or the answer of another row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from against import Comparison, Tree, against_json, against_table, checked_out, commit_of, compare
from airflow_scale import airflow_table, measure_airflow
from goals import (
    Verdict,
    airflow_verdicts,
    peer_verdicts,
    shards_verdicts,
    step_verdicts,
    waiting_verdicts,
    whole_path_verdicts,
)
from many_shards import SHARD_ROWS, measure_many_shards, shards_table
from own_process import PROJECT, MeasuredCommand, StepError, run_step
from peers import PEERS, measure_peer
from printed import TITLES, command_table, step_table
from profiles import profile_steps
from step_figures import StepFigures, as_json, measure_steps
from waiting import PACKAGES, Waited, measure_waiting, waiting_table
from whole_path import measure_whole_path

from greennode_local.postgres_server import Postgres, running_postgres

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (20_000,)
PEER_ROWS = 100_000
AIRFLOW_ROWS = 1_000_000
# Enough for most steps to take about half a second of CPU, and not so many that eight rounds take long.
AGAINST_ROWS = 100_000
WAITING = (1_000, 10_000)
_WHOLE_PATH = "from a Parquet file to a Parquet file, against the emulator, whose process is not counted"
# Up to this many rows, the best of so many runs, because the machine may be shared; beyond, one run.
_REPEATS = {200_000: 3, 1_000_000: 2}
# Three tables of so many rows do not fit on a disk; PostgreSQL is measured below this size.
_MAX_TABLE_ROWS = 2_000_000


def main() -> int:
    """Measure, print tables and results, write the JSON."""
    options = _options()
    # So that an orderly stop ends what was started here, and leaves no files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    made: dict[str, Any] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.python_version()}"}
    with tempfile.TemporaryDirectory(prefix="greennode-bench-", dir=options.work) as work:
        if options.profile:
            _make_rows(options, Path(work), options.sizes[0])
            print(*profile_steps(Path(work)), sep="\n")
            return 0
        if options.against:
            compared = _bench_against(options, Path(work))
            made["against"] = {"commit": options.against, "sizes": [against_json(size) for size in compared]}
            _write(options, made)
            return int(any(size.is_worse for size in compared))
        benches = {"airflow": _bench_airflow, "peers": _bench_peers, "shards": _bench_shards, "waiting": _bench_waiting}
        bench = next((bench for name, bench in benches.items() if getattr(options, name)), _bench)
        verdicts = bench(options, Path(work), made)
    print("\ngoals")
    print(*verdicts, sep="\n")
    made["verdicts"] = [vars(verdict) for verdict in verdicts]
    _write(options, made)
    return 0


def _write(options: argparse.Namespace, made: dict[str, Any]) -> None:
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(made, indent=2) + "\n")
    print(f"written to {options.out}")


def _bench(options: argparse.Namespace, work: Path, made: dict[str, Any]) -> list[Verdict]:
    """Steps and whole path at each size; prints the tables and adds the figures to `made`."""
    steps, whole = _measure(options, work)
    print(*step_table(steps), sep="\n")
    if whole:
        print(_WHOLE_PATH)
        print(*command_table(("greennode-batch run", rows, one) for rows, one in whole.items()), sep="\n")
    made["steps"] = [as_json(size) for size in steps]
    made["whole_path"] = {rows: vars(one) for rows, one in whole.items()}
    return [*step_verdicts(steps), *whole_path_verdicts(whole)]


def _bench_peers(options: argparse.Namespace, work: Path, made: dict[str, Any]) -> list[Verdict]:
    """The whole path of the engine and of each peer; a peer that cannot run is left out, and the reason printed."""
    rows = _make_rows(options, work, options.sizes[0])
    ours = measure_whole_path(work)
    measured: dict[str, MeasuredCommand] = {}
    reasons: dict[str, str] = {}
    for peer in PEERS:
        _say(f"{rows:,} rows: {peer.name}")
        try:
            measured[peer.name] = measure_peer(peer, work)
        except StepError as error:
            reasons[peer.name] = str(error)
    print(f"{_WHOLE_PATH}; best first")
    all_of_them = {"greennode-batch run": ours, **dict(sorted(measured.items(), key=lambda one: one[1].cpu_seconds))}
    print(*command_table((name, rows, one) for name, one in all_of_them.items()), sep="\n")
    for name, reason in reasons.items():
        print(f"\nleft out: {name}: {reason}")
    made["peers"] = {name: vars(one) for name, one in all_of_them.items()}
    made["left_out"] = reasons
    return list(peer_verdicts(ours, measured))


def _bench_airflow(options: argparse.Namespace, work: Path, made: dict[str, Any]) -> list[Verdict]:
    """One run from table to table."""
    rows = _make_rows(options, work, options.sizes[0])
    figures = measure_airflow(work, rows, say=_say)
    print(*airflow_table(figures), sep="\n")
    made["airflow"] = asdict(figures)
    return list(airflow_verdicts(figures))


def _bench_shards(options: argparse.Namespace, work: Path, made: dict[str, Any]) -> list[Verdict]:
    """One run of so many shards."""
    _make_rows(options, work, options.shards * SHARD_ROWS)
    measured = measure_many_shards(work, options.shards, say=_say)
    print(*shards_table(measured), sep="\n")
    made["shards"] = asdict(measured)
    return list(shards_verdicts(measured))


def _bench_waiting(options: argparse.Namespace, work: Path, made: dict[str, Any]) -> list[Verdict]:
    """Triggers of each package, so many at a time; a package that cannot run is left out, and the reason printed."""
    measured: list[Waited] = []
    reasons: dict[str, str] = {}
    for triggers in options.sizes:
        for package in PACKAGES:
            _say(f"{triggers:,} triggers: {package}")
            try:
                measured.append(measure_waiting(package, triggers, work))
            except StepError as error:
                reasons[f"{PACKAGES[package]}, {triggers:,} triggers"] = str(error)
    print(*waiting_table(measured), sep="\n")
    for name, reason in reasons.items():
        print(f"\nleft out: {name}: {reason}")
    made["waiting"] = [asdict(one) for one in measured]
    made["left_out"] = reasons
    return list(waiting_verdicts([one for one in measured if one.name == PACKAGES["greennode"]]))


def _bench_against(options: argparse.Namespace, work: Path) -> list[Comparison]:
    """The steps of this tree and of another commit in turn, at each size."""
    compared: list[Comparison] = []
    with checked_out(options.against, work / "theirs") as theirs, _postgres(work) as server:
        for wanted in options.sizes:
            with tempfile.TemporaryDirectory(prefix="rows-", dir=work) as name:
                rows, ours = _make_tree(options, Path(name) / "ours", wanted, PROJECT, server)
                _, other = _make_tree(options, Path(name) / "theirs", wanted, theirs, server)
                compared.append(compare(ours, other, rows, is_quick=options.quick, say=_say))
                print(*against_table(compared[-1], options.against, TITLES), sep="\n")
    return compared


def _make_tree(
    options: argparse.Namespace, folder: Path, wanted: int, project: Path, server: Postgres
) -> tuple[int, Tree]:
    """Make rows for the steps of a checkout; returns how many."""
    folder.mkdir()
    rows = _make_rows(options, folder, wanted, project)
    if rows > _MAX_TABLE_ROWS:
        return rows, Tree(project, folder, None)
    database = f"{folder.name}_{rows}"
    server.create_database(database)
    tree = Tree(project, folder, server.dsn(database))
    tree.run("made_rows.load_table")
    return rows, tree


def _measure(options: argparse.Namespace, work: Path) -> tuple[list[StepFigures], dict[int, MeasuredCommand]]:
    steps: list[StepFigures] = []
    whole: dict[int, MeasuredCommand] = {}
    with _postgres(work) as server:
        dsn = server.dsn("postgres")
        for wanted in options.sizes:
            with tempfile.TemporaryDirectory(prefix="rows-", dir=work) as name:
                folder = Path(name)
                rows = _make_rows(options, folder, wanted)
                has_table = rows <= _MAX_TABLE_ROWS
                if has_table:
                    run_step(folder, "made_rows.load_table", dsn=dsn)
                if options.only == "whole":
                    whole[rows] = _measure_whole(folder, rows)
                    continue
                _say(f"{rows:,} rows: steps")
                repeats = 1 if options.quick else next((n for most, n in _REPEATS.items() if rows <= most), 1)
                steps.append(measure_steps(folder, rows, repeats=repeats, dsn=dsn if has_table else None))
                if options.only is None:
                    whole[rows] = _measure_whole(folder, rows)
    return steps, whole


def _measure_whole(folder: Path, rows: int) -> MeasuredCommand:
    for name in ("engine", "floor"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _say(f"{rows:,} rows: whole path")
    return measure_whole_path(folder)


def _make_rows(options: argparse.Namespace, folder: Path, wanted: int, project: Path = PROJECT) -> int:
    """Make the source; returns how many rows it has."""
    if options.data is None:
        run_step(folder, "made_rows.write_rows", wanted, project=project)
        return wanted
    data = options.data.resolve()
    said = run_step(folder, "made_rows.write_real_rows", data, options.text, wanted, project=project)
    return said.rows


@contextmanager
def _postgres(work: Path) -> Iterator[Postgres]:
    """An empty PostgreSQL."""
    with running_postgres(
        work / "postgres", password=secrets.token_hex(16), log=work / "postgres.log", home=work
    ) as server:
        yield server


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--airflow", action="store_true")
    parser.add_argument("--waiting", action="store_true")
    parser.add_argument("--shards", type=int, metavar="N")
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--only", choices=("steps", "whole"))
    parser.add_argument("--rows", dest="sizes", type=int, nargs="+", metavar="N")
    parser.add_argument("--data", type=Path, metavar="FILE.parquet")
    parser.add_argument("--text", metavar="COLUMN", help="the column of DATA for the prompts")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where files are made; default: the temporary folder")
    parser.add_argument("--out", type=Path, default=Path(".local/bench.json"))
    options = parser.parse_args()
    if options.data is not None and not options.text:
        parser.error("--data needs --text")
    usual = QUICK_SIZES if options.quick else SIZES
    if options.peers or options.airflow or options.profile:
        usual = (AIRFLOW_ROWS,) if options.airflow else (PEER_ROWS,)
    if options.waiting:
        usual = WAITING
    if options.against:
        commit = commit_of(options.against)
        if commit is None:
            parser.error(f"git knows no commit {options.against}")
        if options.only == "whole":
            parser.error("--against measures steps only")
        options.against = commit
        usual = QUICK_SIZES if options.quick else (AGAINST_ROWS,)
    options.sizes = options.sizes or usual
    return options


if __name__ == "__main__":
    sys.exit(main())
