import pytest

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
