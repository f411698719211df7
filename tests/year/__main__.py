"""Thousands of steps of the year of runs, on two cores: `python -m tests.year --steps 20000 --seed 1`."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from tests.year.years import play_apart

from greennode_local.postgres_server import Postgres, running_postgres

_WORKERS = 2
_STEPS_A_PART = 400


def main() -> int:
    """Play them, and print how many there were. Raises AssertionError, with the steps, where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, metavar="N", help="default: 20,000")
    parser.add_argument("--seed", type=int, default=1, help="the same seed plays the same steps; default: 1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greennode-year-") as folder:
        # All servers are on loopback without TLS, and to read all certificates takes each client longer than a run.
        os.environ.pop("SSL_CERT_FILE", None)
        home = Path(folder)
        (nothing := home / "certificates").mkdir()
        os.environ["SSL_CERT_DIR"] = str(nothing)
        password = secrets.token_hex()
        with running_postgres(home / "data", password=password, log=home / "postgres.log", home=home) as postgres:
            _play_all(options.steps, options.seed, postgres)
    return 0


def _play_all(steps: int, seed: int, postgres: Postgres) -> None:
    def begin() -> Future[Counter[str]]:
        number = next(seeds)
        database = f"year_{number}"
        postgres.create_database(database)
        return pool.submit(play_apart, _STEPS_A_PART, number, postgres.dsn(database))

    began = time.monotonic()
    counts: Counter[str] = Counter()
    seeds = itertools.count(seed * 1_000_003)
    with ProcessPoolExecutor(_WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        played = {begin() for _ in range(_WORKERS)}
        while played:
            ended, played = wait(played, return_when=FIRST_COMPLETED)
            for one in ended:
                counts += one.result()
            sys.stdout.write(f"{counts.total():,} steps, {counts['run']:,} of them runs\n")
            sys.stdout.flush()
            for _ in ended if counts.total() < steps else ():
                played.add(begin())
    sys.stdout.write(f"{counts.total():,} steps from seed {seed} in {time.monotonic() - began:.0f} s\n")
    sys.stdout.writelines(f"{count:>9,}  {what}\n" for what, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
