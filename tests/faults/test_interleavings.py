"""A sample of what `make faults` plays in full: workers that sleep over the lives of others."""

import pytest

from greennode_faults.interleavings.ground import STORES
from greennode_faults.interleavings.scenes import scenes
from greennode_faults.interleavings.tally import play_hold_ups, play_random


@pytest.mark.parametrize("index", range(len(scenes())), ids=[str(scene) for scene in scenes()])
def test_a_worker_that_wakes_late_neither_pays_twice_nor_loses_a_row(index):
    # Each scene on another kind of store; all of them on each are played by `make faults`.
    store = STORES[index % len(STORES)]
    for tally in (play_hold_ups(store, index, stride=29), play_random(store, index, range(3))):
        assert tally.schedules > 2
        assert tally.wrong == ()
        assert tally.billed == tally.needed > 0
