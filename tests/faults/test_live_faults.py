import pytest

from greennode_emulator.server import running
from greennode_emulator.settings import Settings
from greennode_faults.live_faults import LIVE_CASES, count_steps, kill_at, run_live_case, undisturbed


@pytest.fixture(scope="module")
def stage():
    with running(Settings()) as emulator:
        yield emulator, undisturbed(emulator)


@pytest.mark.parametrize("case", LIVE_CASES, ids=lambda case: case.name)
def test_every_live_fault_costs_no_row_and_no_more_than_what_was_in_flight(stage, case):
    assert run_live_case(*stage, case).result == "ok"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_kill_costs_no_row_and_no_more_than_what_was_in_flight(stage, share):
    emulator, wanted = stage
    assert kill_at(emulator, wanted, int(count_steps(emulator) * share)).result == "ok"


@pytest.mark.nightly
def test_a_kill_at_any_step_does_neither(stage):
    emulator, wanted = stage
    outcomes = [kill_at(emulator, wanted, step) for step in range(1, count_steps(emulator) + 1)]
    assert {outcome.result for outcome in outcomes} == {"ok"}
