"""Years: the state machine, played for a number of steps from a seed."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
from hypothesis.stateful import get_state_machine_test
from tests.year.machine import Year

_STEPS_A_YEAR = 40
_ZONE = "Europe/Berlin"


def play(*, steps: int, seed: int, dsn: str | None = None) -> Counter[str]:
    """Play some years of this many steps; how often each rule was played. The same seed plays the same steps.

    dsn: of a database of PostgreSQL, which about half of the years use; else all use SQLite.
    """
    settings = hypothesis.settings(
        max_examples=max(1, steps // _STEPS_A_YEAR),
        stateful_step_count=_STEPS_A_YEAR,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    Year.counts.clear()
    Year.dsn = dsn
    with _summer_time():
        hypothesis.seed(seed)(get_state_machine_test(Year, settings=settings))()
    return Year.counts.copy()


def play_apart(steps: int, seed: int, dsn: str) -> Counter[str]:
    """The same in a process that does nothing else: no log, and nothing of it need be safe from a crash."""
    logging.disable(logging.CRITICAL)
    os.fsync = lambda _: None
    return play(steps=steps, seed=seed, dsn=dsn)


@contextmanager
def _summer_time() -> Iterator[None]:
    """Inside, the process is in a zone with summer time."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = _ZONE
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
