import shutil
from pathlib import Path

import pytest

from greennode_batch.collect.download import BatchFiles
from greennode_batch.errors import RejectedError, RetryableError
from greennode_batch.state.receipts import read_receipt

CONTENT = "GET /files/{id}/content"
HALF_HOUR = 1800.0


@pytest.fixture
def bring(make_shard, client, ended, clock, tmp_path):
    """A finished batch of twenty requests: (shard, what fetches its files)."""
    shard = make_shard(*(f"text {n}" for n in range(20)))
    batch = ended(shard)

    def go(step=BatchFiles.download):
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        return step(BatchFiles(shard, client, batch, work, 20, clock, clock.sleep))

    return shard, go


def lines_of(shard):
    return shard.output.read_bytes().splitlines()


def test_both_files_come_whole_and_once(bring, emulator):
    shard, go = bring
    go()
    go()
    assert len(lines_of(shard)) == 20
    assert not shard.errors.exists(), "a batch without errors has no file of them"
    assert emulator.ledger()["calls"][CONTENT] == 1


@pytest.mark.parametrize("length", ["lying", "right", "none"])
def test_a_file_that_is_cut_off_in_mid_line_is_fetched_again(bring, emulator, length):
    shard, go = bring
    emulator.faults([{"kind": "truncated", "endpoint": CONTENT, "fraction": 0.5, "length": length, "count": 4}])
    go()
    assert len(lines_of(shard)) == 20
    assert emulator.armed() == []


def test_a_file_that_the_server_itself_has_cut_off_is_taken_as_it_is(bring, emulator, clock):
    shard, go = bring
    emulator.faults([{"kind": "truncated", "endpoint": CONTENT, "length": "none", "count": None}])
    go()
    assert 0 < len(lines_of(shard)) < 20
    assert len(clock.slept) == 4, "it was tried some times before that was believed"


def test_a_file_that_is_cut_off_elsewhere_each_time_is_left_for_later(bring, emulator):
    shard, go = bring
    emulator.faults([
        {"kind": "truncated", "endpoint": CONTENT, "length": "none", "fraction": fraction, "count": 1}
        for fraction in (0.31, 0.42, 0.53, 0.64, 0.75)
    ])  # fmt: skip
    with pytest.raises(RetryableError, match="came cut off, each time in another place; nothing is lost"):
        go()
    assert not shard.output.exists()


def test_a_file_that_is_named_before_it_can_be_read_is_waited_for(bring, emulator):
    shard, go = bring
    emulator.faults([{"kind": "status", "endpoint": CONTENT, "status": 404, "count": 3}])
    go()
    assert len(lines_of(shard)) == 20


def test_a_file_that_stays_unreadable_is_left_for_later_and_lost_once_its_metadata_is_gone(bring, emulator, clock):
    shard, go = bring
    emulator.faults([{"kind": "status", "endpoint": CONTENT, "status": 404, "count": None}])
    with pytest.raises(RetryableError, match="cannot be read yet; nothing is lost"):
        go()
    since = read_receipt(shard).unreadable_since
    clock.now = since + HALF_HOUR - 600
    with pytest.raises(RetryableError, match="cannot be read yet"):
        go()
    assert read_receipt(shard).unreadable_since == since
    clock.now = since + HALF_HOUR
    with pytest.raises(RejectedError, match=r"still has this file.*content_path, result_style.*Nothing is lost"):
        go()
    emulator.faults([{"kind": "status", "endpoint": "GET /files/{id}", "status": 404, "count": None}])
    go()
    assert not shard.output.exists()


def test_what_is_longer_the_second_time_takes_the_place_of_what_was_cut_at_the_end_of_a_line(bring):
    shard, go = bring
    go()
    whole = shard.output.read_bytes()
    shard.output.write_bytes(b"".join(whole.splitlines(keepends=True)[:11]))
    assert go(BatchFiles.download_again)
    assert shard.output.read_bytes() == whole
    assert not go(BatchFiles.download_again)


def test_what_is_shorter_the_second_time_or_does_not_come_changes_nothing(bring, emulator):
    shard, go = bring
    go()
    whole = shard.output.read_bytes()
    emulator.faults([{"kind": "truncated", "endpoint": CONTENT, "length": "none", "fraction": 0.5, "count": 1}])
    assert not go(BatchFiles.download_again)
    emulator.faults([{"kind": "status", "endpoint": CONTENT, "status": 404, "count": 1}])
    assert not go(BatchFiles.download_again)
    assert Path(str(shard.output)).read_bytes() == whole
