"""A sample of what `make faults` plays in full: workers that sleep over the lives of others."""

import pytest

from greennode_faults.interleavings.ground import STORES
from greennode_faults.interleavings.scenes import scenes
from greennode_faults.interleavings.tally import play


@pytest.mark.parametrize("index", range(len(scenes())), ids=[str(scene) for scene in scenes()])
def test_a_worker_that_wakes_late_neither_pays_twice_nor_loses_a_row(index):
    # Each scene on another kind of store; all of them on each are played by `make faults`.
    store = STORES[index % len(STORES)]
    tally = play(store, index, range(3), stride=29)
    assert tally.schedules > 5
    assert tally.wrong == ()
