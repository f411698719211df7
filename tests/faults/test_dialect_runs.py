"""A dozen servers that nobody has seen: no table is paid for twice, and the probe's profile brings it home."""

import pytest

from greennode_faults.dialect_runs import DialectRun, run_dialects

# Those of `make dialects` that differ most, and few whose wait by the default profile is long.
SEEDS = (2, 3, 4, 5, 6, 8, 9, 11, 12, 14, 16, 17)


@pytest.fixture(scope="module")
def runs() -> list[DialectRun]:
    return list(run_dialects(SEEDS))


def test_with_the_profile_that_the_probe_finds_all_rows_are_right(runs: list[DialectRun]) -> None:
    assert {run.seed: run.probed.words for run in runs if run.probed.end != "right"} == {}


def test_with_the_default_profile_a_run_is_right_or_stops_and_names_a_field(runs: list[DialectRun]) -> None:
    assert {run.seed: run.default.words for run in runs if run.default.end == "wrong"} == {}
