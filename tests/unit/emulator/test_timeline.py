import math

import msgspec
import pytest

from greennode_emulator.faults.batch_faults import Expired, Stuck
from greennode_emulator.records import BatchRecord, Phase
from greennode_emulator.timeline import lines_due, pause_seconds, phase_ends

BATCH = BatchRecord(
    id="b",
    input_file_id="f",
    endpoint="/v1/chat/completions",
    completion_window="24h",
    metadata=None,
    created_at=1000,
    seconds=100,
    total=800,
)


@pytest.mark.parametrize(("age", "due"), [(0, 0), (10, 0), (50, 400), (90, 800), (500, 800)])
def test_lines_become_due_evenly_between_the_first_and_the_last_tenth(age, due):
    assert lines_due(BATCH, now=1000 + age) == due


def test_phases_end_by_the_wall_clock_from_creation():
    ends = {phase: phase_ends(BATCH.enter(phase, 1000)) for phase in Phase}
    assert ends[Phase.VALIDATING] == 1010
    assert ends[Phase.IN_PROGRESS] == 1090
    assert ends[Phase.FINALIZING] == 1100
    assert ends[Phase.CANCELLING] == 1010


def test_pauses_are_neither_busy_nor_long():
    assert 0.005 <= pause_seconds(BATCH) <= 0.5


@pytest.mark.parametrize("seconds", [0, 0.05, 0.1, 1.8, 100])
@pytest.mark.parametrize("created_at", [1000, 1_780_134_364.2441125, 1_780_847_433.7369373])
@pytest.mark.parametrize(
    ("faults", "answered"), [((), 1), ((Expired(),), 0.5), ((Expired(fraction=0.3),), 0.3), ((Stuck(seconds=7.7),), 1)]
)
def test_no_line_is_left_at_the_very_moment_that_its_phase_ends(seconds, created_at, faults, answered):
    made = msgspec.structs.replace(BATCH, created_at=created_at, seconds=seconds, faults=faults)
    batch = made.enter(Phase.IN_PROGRESS, phase_ends(made))
    end = phase_ends(batch)
    for total in (1, 3, 10, 50_000):
        due = [
            lines_due(msgspec.structs.replace(batch, total=total), now=now)
            for now in (end, math.nextafter(end, end + 1))
        ]
        assert due == [int(total * answered)] * 2
