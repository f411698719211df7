"""Years: the state machine, played for a number of steps from a seed."""

from __future__ import annotations

import logging
import os
from collections import Counter

import hypothesis
from hypothesis.stateful import get_state_machine_test
from tests.year.machine import Year

_STEPS_A_YEAR = 40


def play(*, steps: int, seed: int) -> Counter[str]:
    """Play some years of this many steps; how often each rule was played. The same seed plays the same steps."""
    settings = hypothesis.settings(
        max_examples=max(1, steps // _STEPS_A_YEAR),
        stateful_step_count=_STEPS_A_YEAR,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    Year.counts.clear()
    hypothesis.seed(seed)(get_state_machine_test(Year, settings=settings))()
    return Year.counts.copy()


def play_apart(steps: int, seed: int) -> Counter[str]:
    """The same in a process that does nothing else: no log, and nothing of it need be safe from a crash."""
    logging.disable(logging.CRITICAL)
    os.fsync = lambda _: None
    return play(steps=steps, seed=seed)
