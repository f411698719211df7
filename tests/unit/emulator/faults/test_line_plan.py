import msgspec

from greennode_emulator.faults.line_faults import LineError, Missing
from greennode_emulator.faults.line_plan import plan_lines


def test_the_rate_is_kept_to():
    plan = plan_lines([Missing(rate=0.1)], lines=10_000, checksum=1)
    assert 850 < len(plan) < 1150


def test_a_count_keeps_the_rate_and_takes_no_more():
    assert len(plan_lines([Missing(rate=0.5, count=5)], lines=1000, checksum=1)) == 5
    assert len(plan_lines([Missing(count=5)], lines=3, checksum=1)) == 3


def test_a_line_belongs_to_the_first_fault_that_wants_it():
    plan = plan_lines([Missing(rate=0.5), LineError()], lines=1000, checksum=1)
    assert len(plan) == 1000
    assert 400 < sum(isinstance(fault, Missing) for fault in plan.values()) < 600


def test_the_plan_depends_on_the_seed_and_the_file_alone():
    fault = Missing(rate=0.1, seed=1)
    plan = plan_lines([fault], lines=1000, checksum=7)
    assert plan_lines([fault], lines=1000, checksum=7) == plan
    assert plan_lines([fault], lines=1000, checksum=8) != plan
    assert plan_lines([msgspec.structs.replace(fault, seed=2)], lines=1000, checksum=7).keys() != plan.keys()


def test_no_faults_no_plan():
    assert plan_lines([], lines=50_000, checksum=1) == {}
