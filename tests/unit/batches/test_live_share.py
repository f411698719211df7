import os
import time

from upath import UPath

from greennode_batch.batches.live_share import LiveShare


def test_workers_that_are_there_are_counted(tmp_path):
    root = UPath(tmp_path)
    first, second = LiveShare(root, "greennode_default"), LiveShare(root, "greennode_default")
    assert (first(), second(), first()) == (1, 2, 2)
    second.leave()
    assert first() == 1
    assert LiveShare(root, "another")() == 1


def test_a_worker_that_was_killed_counts_no_more_after_a_while(tmp_path):
    root = UPath(tmp_path)
    LiveShare(root, "c")()
    (left,) = (tmp_path / ".live" / "c").iterdir()
    os.utime(left, (time.time() - 60,) * 2)
    assert LiveShare(root, "c")() == 1
    os.utime(left, (time.time() - 7200,) * 2)
    LiveShare(root, "c")()
    assert not left.exists()
