"""The engine's fault matrix: each known fault, some mixtures and some stops. `make faults` plays all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from greennode_faults.case import Case
from greennode_faults.catalogue import SINGLES, mixtures
from greennode_faults.engine import Bench, bench
from greennode_faults.kills import Steps

MIXTURES = tuple(mixtures(8, seed=7))
# Some of about 190 steps.
STOPS = [*(("kill", step) for step in range(3, 180, 40)), *(("pause", step) for step in range(23, 180, 40))]


@pytest.fixture(scope="module")
def bench_of() -> Iterator[Callable[[str], Bench]]:
    """An emulator of a dialect, started when it is first asked for."""
    with ExitStack() as stack:
        made: dict[str, Bench] = {}

        def get(dialect: str) -> Bench:
            if dialect not in made:
                made[dialect] = stack.enter_context(bench(dialect))
            return made[dialect]

        yield get


@pytest.mark.parametrize("case", SINGLES, ids=lambda case: f"{case.group}: {case.name}")
def test_each_row_comes_out_and_is_paid_for_once_under_a_fault(case: Case, bench_of: Callable[[str], Bench]) -> None:
    assert bench_of(case.dialect).run(case).result == "ok"


@pytest.mark.parametrize("case", MIXTURES, ids=lambda case: case.name)
def test_each_row_comes_out_and_is_paid_for_once_under_several(case: Case, bench_of: Callable[[str], Bench]) -> None:
    assert bench_of(case.dialect).run(case).result == "ok"


def test_mixtures_are_the_same_for_the_same_seed() -> None:
    assert tuple(mixtures(len(MIXTURES), seed=7)) == MIXTURES
    assert tuple(mixtures(len(MIXTURES), seed=8)) != MIXTURES


@pytest.mark.parametrize(("way", "step"), STOPS)
def test_a_run_that_is_stopped_anywhere_ends_well(way: str, step: int, bench_of: Callable[[str], Bench]) -> None:
    stage = bench_of("openai")
    assert Steps(stage.emulator, stage.wanted).stop_at(step, way).result == "ok"
