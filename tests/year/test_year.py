"""Some weeks of runs in a pull request; `make year` has thousands of steps, half of them on PostgreSQL."""

import typing

import msgspec
from tests.year.faults import FAULTS, NOT_PLAYED
from tests.year.years import play

from greennode_emulator.faults.kinds import AnyFault, read_faults


def test_whatever_happens_the_targets_are_what_the_model_says():
    play(steps=200, seed=14)


def test_each_kind_of_fault_is_played_or_says_why_not():
    played = {fault["kind"] for faults in FAULTS.values() for fault in faults}
    assert not played & NOT_PLAYED.keys()
    assert played | NOT_PLAYED.keys() == {kind.__struct_config__.tag for kind in typing.get_args(AnyFault)}
    for faults in FAULTS.values():
        assert read_faults(msgspec.json.encode(faults))
