from greennode_batch.staging.spill_file import SpillFile


def test_what_was_added_is_read_back_in_order_again_and_again_also_before_the_last_is_added(tmp_path):
    SpillFile(tmp_path / "some").add("of another")
    spilled = SpillFile(tmp_path / "some")
    assert list(spilled) == []
    for value in ([1, None], ("a", {"b": 2.5})):
        spilled.add(value)
    assert list(spilled) == list(spilled) == [[1, None], ("a", {"b": 2.5})]
    spilled.add(b"\x80")
    assert list(spilled)[2:] == [b"\x80"]
